"""Half precision: every float32 weight and value becomes float16, for GPUs that multiply it twice
as fast.
"""

import warnings
from dataclasses import dataclass
from typing import Final

import onnx
from onnx import TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16

from onnxlift.compress.graph.editing import Graph
from onnxlift.compress.steps import Context, Step
from onnxlift_runtime.errors import RecipeInvalid

_ADVICE: Final = r"the float32 number .* will be truncated to"


@dataclass(frozen=True)
class Float16(Step):
    """Convert to float16; inputs and outputs keep the datatypes that callers know, with a cast
    behind each.

    ``exclude`` names nodes that stay float32, such as a last softmax over many classes.
    """

    title = "half precision"

    exclude: tuple[str, ...] = ()

    def apply(self, model: onnx.ModelProto, _context: Context) -> onnx.ModelProto:
        """Return the float16 model; raises ``RecipeInvalid`` when it has no float32 weights."""
        if all(tensor.data_type != TensorProto.FLOAT for tensor in model.graph.initializer):
            raise RecipeInvalid("float16 needs float32 weights; this model has none")
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        with (
            warnings.catch_warnings()
        ):  # masks of -3e38 become -6e4 and numbers below 1e-7 become it: both are meant
            warnings.filterwarnings("ignore", message=_ADVICE)
            converted: onnx.ModelProto = convert_float_to_float16(
                copy,
                keep_io_types=True,
                disable_shape_infer=copy.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF,
                node_block_list=list(self.exclude),
            )
        return Graph(converted).finish()  # the converter appends its casts behind their readers
