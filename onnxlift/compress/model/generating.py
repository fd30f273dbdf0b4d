"""Inputs made from a model's signature, for a first answer where there are no samples yet."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from onnx import numpy_helper

from onnxlift.columns import Array
from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.reading import walk
from onnxlift.compress.model.samples import Samples
from onnxlift.compress.model.signature import Signature
from onnxlift_runtime.errors import SamplesInvalid
from onnxlift_runtime.manifest import TensorSpec
from onnxlift_runtime.tensors.datatypes import datatype

COUNT: Final = 64
_SEED: Final = 20_261_130
# Tried in turn for dimensions of any size: texts, pictures, and what takes one row only.
_SIZES: Final = (16, 32, 64, 128, 224, 256, 320, 512, 1, 2, 3, 1024, 16_000)
_PICTURES: Final = re.compile(r"(?i)image|img|pixel|picture|frame")
_SOUNDS: Final = re.compile(r"(?i)audio|wave|signal|speech|pcm")
_LOUDNESS: Final = 0.1
_WORDS: Final = (b"a small dog runs", b"the answer is yes", b"sunny", b"we met in March", b"no")


@dataclass(frozen=True)
class _Ranges:
    """What a graph's own constants say about the whole numbers it takes, by input."""

    rows: Mapping[str, int]
    equal: Mapping[str, int]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> "_Ranges":
        """Rows of the tables that an input looks up, and the numbers that it is compared with."""
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        origin = {value.name: value.name for value in model.graph.input}
        rows: dict[str, int] = {}
        equal: dict[str, int] = {}
        for node in walk(model.graph, onnx.NodeProto):
            if node.op_type in ("Cast", "Identity") and node.input[0] in origin:
                origin[node.output[0]] = origin[node.input[0]]
            elif node.op_type == "Gather" and node.input[1] in origin:
                table = constants.get(node.input[0])
                axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
                if table is not None:
                    name = origin[node.input[1]]
                    rows[name] = min(table.dims[axis], rows.get(name, table.dims[axis]))
            elif node.op_type == "Equal":
                for name, other in (node.input, reversed(node.input)):
                    if name in origin and other in constants:
                        number = numpy_helper.to_array(constants[other]).ravel()[:1]
                        equal.setdefault(origin[name], int(number[0]))
        return cls(rows, equal)


def generate_samples(
    session: Any, model: onnx.ModelProto, signature: Signature, batch: Batch
) -> Samples:
    """64 samples, always the same, that the model runs on in ``session``.

    Numbers are normal; pictures and sounds, by the input's name, have their usual range; whole
    numbers stay within the tables that they look up. Raises ``SamplesInvalid`` where nothing runs.
    """
    outputs = [spec.name for spec in signature.outputs]
    failure = ""
    for samples in _offers(signature, batch, _Ranges.of(model)):
        try:
            session.run(outputs, _as_text(next(samples.batches(1))))
        except Exception as error:  # onnxruntime's errors share no base class below Exception
            failure = failure or str(error).splitlines()[0]
        else:
            return samples
    raise SamplesInvalid(
        f"the model runs on no input that could be made from its signature; name samples of your "
        f"own in quality.samples ({failure})"
    )


def _offers(signature: Signature, batch: Batch, ranges: _Ranges) -> Iterator[Samples]:
    free = any(-1 in batch.sample_shape(spec) for spec in signature.inputs)
    for size in _SIZES if free else _SIZES[:1]:
        yield Samples(
            {spec.name: _column(spec, size, batch, ranges) for spec in signature.inputs},
            batch=batch,
        )


def _column(spec: TensorSpec, size: int, batch: Batch, ranges: _Ranges) -> Array:
    """One input of all samples [samples, ...]; what all rows of a run share is equal in all."""
    shape = [size if wanted == -1 else wanted for wanted in batch.sample_shape(spec)]
    shared = bool(batch.axes) and batch.axis(spec.name) is None
    random = np.random.default_rng([_SEED, *spec.name.encode()])
    values = _values(spec, (1 if shared else COUNT, *shape), ranges, random)
    return np.repeat(values, COUNT, axis=0) if shared else values


def _values(
    spec: TensorSpec, shape: tuple[int, ...], ranges: _Ranges, random: np.random.Generator
) -> Array:
    found = datatype(spec.datatype)
    if found.kind == "bytes":
        return np.asarray(random.choice(np.array(_WORDS, object), size=shape))
    if found.kind == "float":
        return _numbers(spec.name, shape, random).astype(found.numpy)
    if spec.name in ranges.equal:
        return np.full(shape, ranges.equal[spec.name], found.numpy)
    if "mask" in spec.name.lower():
        return np.ones(shape, found.numpy)
    return random.integers(0, ranges.rows.get(spec.name, 2), size=shape).astype(found.numpy)


def _numbers(name: str, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    if _PICTURES.search(name):
        return np.asarray(random.random(size=shape))
    return random.normal(size=shape) * (_LOUDNESS if _SOUNDS.search(name) else 1)


def _as_text(feed: Mapping[str, Array]) -> dict[str, Any]:
    return {
        name: np.array([item.decode() for item in array.ravel()], object).reshape(array.shape)
        if array.dtype == object
        else array
        for name, array in feed.items()
    }
