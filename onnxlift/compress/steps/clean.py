"""Clean: fold constants, fuse what is exact, and infer shapes, as quantization needs it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
from onnxruntime.quantization import shape_inference

from onnxlift.compress.model.inventory import weights
from onnxlift.compress.model.writing import through_files, weights_beside
from onnxlift.compress.steps import Context, Stage, Step

_GROWTH: Final = 1.02  # what folding small constants may add


@dataclass(frozen=True)
class Clean(Step):
    """Run onnxruntime's exact graph optimizations (constants folded, BatchNormalization into Conv)
    and infer shapes.

    ``optimize`` false only infers shapes. Shapes that only symbolic inference finds stay unknown:
    it needs sympy and changes nothing for the operators that are quantized here. ``may_grow`` false
    keeps a model as it is where folding repeats its weights, as it does for a table that is read
    both as it is and transposed, or for gates that two branches put in order.
    """

    title = "clean graph"
    stage = Stage.CLEAN
    prepares = True

    optimize: bool = True
    may_grow: bool = True

    def apply(self, model: onnx.ModelProto, _context: Context) -> onnx.ModelProto:
        """Return a model with the same answers, fewer nodes and known shapes.

        Where onnxruntime or onnx fails on a model, it stays as it is: no step needs more.
        """
        try:
            cleaned = through_files(model, self._change)
        except Exception:  # onnxruntime and onnx fail in their own ways on unusual models
            return model
        if not self.may_grow and _weight_bytes(cleaned) > _GROWTH * _weight_bytes(model):
            return model
        return cleaned

    def _change(self, before: Path, after: Path) -> None:
        shape_inference.quant_pre_process(
            before,
            after,
            skip_optimization=not self.optimize,
            skip_symbolic_shape=True,
            save_as_external_data=weights_beside(before),
            all_tensors_to_one_file=True,
        )


def _weight_bytes(model: onnx.ModelProto) -> int:
    return sum(weight.size_bytes for weight in weights(model))
