"""What a service answers to an inference request, as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from onnxlift_runtime.errors import OnnxliftError, ServiceUnreachable
from onnxlift_runtime.http.encoding import decode_json
from onnxlift_runtime.protocols.oip import HEADER_LENGTH
from onnxlift_runtime.tensors.arrays import Array, bfloat16_to_float32, decode
from onnxlift_runtime.tensors.wire import WireTensor, expect, expect_mapping

_CLASS_PARTS: Final = 3


@dataclass(frozen=True, slots=True)
class ScoredClass:
    """One class of the classification extension, ``value:index[:label]``."""

    score: float
    index: int
    label: str

    @classmethod
    def from_text(cls, text: bytes) -> "ScoredClass":
        """Read the extension's form; raises ``ValueError`` for any other text."""
        score, index, *label = text.decode().split(":", _CLASS_PARTS - 1)
        return cls(float(score), int(index), label[0] if label else "")


@dataclass(frozen=True, slots=True)
class Answer:
    """One inference answer: arrays by output name in the model's order, with the datatype of each.

    BF16 outputs are widened to float32; BYTES outputs are object arrays of ``bytes``.
    """

    model: str
    version: str
    outputs: Mapping[str, Array]
    datatypes: Mapping[str, str]

    def classes(self, output: str) -> list[list[ScoredClass]]:
        """The classes of an output that was asked for with ``classes``, one list per sample, best
        first.
        """
        rows = np.atleast_2d(self.outputs[output])
        return [[ScoredClass.from_text(item) for item in row] for row in rows]


def decode_answer(body: bytes, headers: Mapping[str, str]) -> Answer:
    """Read the body of an inference answer, JSON or binary; raises ``ServiceUnreachable`` where it
    is neither.
    """
    try:
        return _decode(body, headers.get(HEADER_LENGTH) or headers.get(HEADER_LENGTH.lower()))
    except (OnnxliftError, ValueError, KeyError, TypeError) as error:
        raise ServiceUnreachable(
            f"the answer is not the Open Inference Protocol's: {error}"
        ) from error


def _decode(body: bytes, header_length: str | None) -> Answer:
    json_length = len(body) if header_length is None else int(header_length)
    document = expect_mapping(decode_json(body[:json_length]), "the answer")
    tensors = _read_tensors(
        expect(document.get("outputs"), list, "'outputs'"), memoryview(body)[json_length:]
    )
    return Answer(
        model=document["model_name"],
        version=document.get("model_version", ""),
        outputs={tensor.name: _to_array(tensor) for tensor in tensors},
        datatypes={tensor.name: tensor.datatype for tensor in tensors},
    )


def _read_tensors(entries: list[Any], blobs: memoryview) -> list[WireTensor]:
    tensors, offset = [], 0
    for item in entries:
        entry = expect_mapping(item, "an output")
        size = entry.get("parameters", {}).get("binary_data_size")
        data = entry["data"] if size is None else blobs[offset : offset + size]
        offset += size or 0
        tensors.append(WireTensor(entry["name"], entry["datatype"], tuple(entry["shape"]), data))
    return tensors


def _to_array(tensor: WireTensor) -> Array:
    array = decode(tensor)
    return bfloat16_to_float32(array) if tensor.datatype == "BF16" else array
