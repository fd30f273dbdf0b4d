"""Dynamic int8: constant weights become 8-bit integers, activations are quantized while the model
runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from onnxlift.compress.model.writing import through_files, weights_beside
from onnxlift.compress.steps import Context, Stage, Step
from onnxlift.compress.steps.integers import (
    quantize_most,
    require_layers,
    without_declared_weights,
)
from onnxlift_runtime.errors import RecipeInvalid

# The quantizer first turns Gemm "name" into MatMul "name_MatMul" and an Add.
_MATMUL_OF_GEMM: Final = "_MatMul"


@dataclass(frozen=True)
class Int8Dynamic(Step):
    """Quantize weights ahead and activations at run time; needs no samples.

    ``per_channel`` gives each output channel its own scale. ``reduce_range`` keeps weights within 7
    bits, so that 16-bit sums of AVX2 without VNNI cannot saturate (onnxruntime issue 6004).
    ``weight_type`` uint8 cannot saturate either and is slower where VNNI is. ``operators`` limits
    the step to these types, ``exclude`` leaves nodes out.
    """

    title = "onnxruntime's dynamic int8"
    stage = Stage.INT8

    per_channel: bool = True
    reduce_range: bool = True
    weight_type: Literal["int8", "uint8"] = "int8"
    operators: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.weight_type not in ("int8", "uint8"):
            raise RecipeInvalid(
                f"int8_dynamic takes weight_type int8 or uint8, got {self.weight_type!r}"
            )

    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        """Return the quantized model; raises ``RecipeInvalid`` where no operator has constant
        weights to quantize.
        """
        require_layers(model, "int8_dynamic")
        return quantize_most(model, self.operators, context, self._quantize, "int8_dynamic")

    def _quantize(
        self, model: onnx.ModelProto, operators: Sequence[str], _context: Context
    ) -> onnx.ModelProto:
        change = replace(self, operators=tuple(operators))._change
        return through_files(without_declared_weights(model), change)

    def _change(self, before: Path, after: Path) -> None:
        quantize_dynamic(
            before,
            after,
            op_types_to_quantize=list(self.operators) or None,
            nodes_to_exclude=[*self.exclude, *(name + _MATMUL_OF_GEMM for name in self.exclude)],
            per_channel=self.per_channel,
            reduce_range=self.reduce_range,
            use_external_data_format=weights_beside(before),
            weight_type=QuantType.QInt8 if self.weight_type == "int8" else QuantType.QUInt8,
            # Values whose type inference does not reach are float: the input was fp32.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
