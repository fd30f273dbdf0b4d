"""What is compared: the published recipes for this model, and ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from onnxlift.compress.steps import Context, Step
from onnxlift.compress.steps.embeddings import Embeddings
from onnxlift.compress.steps.matmul_int8 import MatMulInt8
from onnxlift.compress.steps.smooth_quant import SmoothQuant
from onnxlift.compress.steps.weight_blocks import WeightBlocks

_POSITIONS: Final = "embeddings.position_embeddings/Gather"
# Found by `onnxlift.compress.search.sensitivity`: what loses most for each byte when it alone
# has 4 bits.
_WORST: Final = (
    *(f"encoder.layer.{layer}.attention.self.value/MatMul" for layer in (1, 2, 3, 4, 5)),
    "encoder.layer.5.attention.output.dense/MatMul",
    *(f"encoder.layer.{layer}.intermediate.dense/MatMul" for layer in (0, 1, 4)),
)

Build = Callable[[onnx.ModelProto, Mapping[str, np.ndarray]], onnx.ModelProto]


@dataclass(frozen=True)
class Variant:
    """One row of the table; ``ours`` are packed, what others publish is opened as it is published.

    ``emulable`` false: it computes in float32, which is too slow on an emulated CPU.
    """

    name: str
    build: Build
    ours: bool = False
    emulable: bool = True


def variants() -> tuple[Variant, ...]:
    """All rows, fp32 first."""
    return (
        Variant("fp32", lambda model, _: model, emulable=False),
        Variant("onnxruntime's and Olive's default int8 (per tensor)", _dynamic(per_channel=False)),
        Variant("Hugging Face `qint8_avx512_vnni` (per channel)", _dynamic(per_channel=True)),
        Variant("Xenova int8 (per channel, 7 bits)", _dynamic(per_channel=True, reduce_range=True)),
        Variant("Olive's default int4 (blocks of 128, 4-bit tables)", _olive_int4, emulable=False),
        _our("**ours, int8**", Embeddings(8), SmoothQuant(), MatMulInt8()),
        _our("**ours, int8, 4-bit words**", *_words(4, 32), SmoothQuant(), MatMulInt8()),
        _our(
            "**ours, 4 bits, 9 nodes in 8**",
            *_words(4, 32),
            WeightBlocks(8, only=_WORST),
            _four(32),
        ),
        _our("**ours, 4 bits**", *_words(4, 32), _four(32)),
        _our("**ours, 4 bits, 2-bit words**", *_words(2, 16), WeightBlocks(4, block=128)),
    )


def _our(name: str, *steps: Step) -> Variant:
    def build(model: onnx.ModelProto, samples: Mapping[str, np.ndarray]) -> onnx.ModelProto:
        for step in steps:
            model = step.apply(model, Context(samples))
        return model

    return Variant(name, build, ours=True)


def _words(bits: int, block: int) -> tuple[Step, ...]:
    """The table of words in few bits; the one of positions is small, and each of its rows is read
    by every text.
    """
    return Embeddings(bits, block, symmetric=bits == 2, exclude=(_POSITIONS,)), Embeddings(8)


def _four(block: int) -> WeightBlocks:
    return WeightBlocks(4, block=block, symmetric=False)


def _dynamic(*, per_channel: bool, reduce_range: bool = False) -> Build:
    def build(model: onnx.ModelProto, _samples: Mapping[str, np.ndarray]) -> onnx.ModelProto:
        with TemporaryDirectory() as folder:
            before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
            onnx.save(model, before)
            quantize_dynamic(
                before,
                after,
                per_channel=per_channel,
                reduce_range=reduce_range,
                weight_type=QuantType.QInt8,
            )
            return onnx.load(after)

    return build


def _olive_int4(model: onnx.ModelProto, _samples: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        MatMulNBitsQuantizer,
    )  # loads onnx_ir

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantizer = MatMulNBitsQuantizer(
        copy,
        bits=4,
        block_size=128,
        is_symmetric=True,
        op_types_to_quantize=("MatMul", "Gather"),
        quant_axes=(("MatMul", 0), ("Gather", 1)),
    )
    quantizer.process()
    made: onnx.ModelProto = quantizer.model.model
    return made
