"""Static int8: weights and activations become 8-bit integers, whose ranges come from calibration
samples.
"""

import contextlib
import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from onnxlift.compress.calibration.activations import feeds
from onnxlift.compress.graph.editing import Graph
from onnxlift.compress.model.reading import opset
from onnxlift.compress.model.writing import through_files, weights_beside
from onnxlift.compress.steps import Context, Stage, Step
from onnxlift.compress.steps.integers import (
    last_layers,
    quantize_most,
    require_layers,
    with_opset,
    without_declared_weights,
)
from onnxlift_runtime.errors import RecipeInvalid, SamplesInvalid

METHODS: Final = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
# The pairs that onnxruntime's CPU kernels compute in integers.
LEGAL_TYPES: Final = (("uint8", "int8"), ("int8", "int8"), ("uint8", "uint8"))
_AXIS_SINCE: Final = 13  # the opset from which on QuantizeLinear takes a scale for each channel
_TYPES: Final = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}


@dataclass(frozen=True)
class Int8Static(Step):
    """Quantize weights and activations ahead, as pairs of QuantizeLinear and DequantizeLinear that
    onnxruntime fuses.

    ``method``: minmax keeps the widest range seen, entropy and percentile cut outliers.
    ``reduce_range`` as in ``Int8Dynamic``. ``operators`` limits the step to these types,
    ``exclude`` leaves nodes out. ``heads`` "float" leaves out the last layer before each output,
    which may mix boxes of hundreds with scores below 1.
    """

    title = "static int8"
    stage = Stage.INT8

    method: Literal["minmax", "entropy", "percentile"] = "minmax"
    activation_type: Literal["int8", "uint8"] = "uint8"
    weight_type: Literal["int8", "uint8"] = "int8"
    per_channel: bool = True
    reduce_range: bool = True
    operators: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    heads: Literal["int8", "float"] = "int8"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise RecipeInvalid(
                f"int8_static takes method {', '.join(METHODS)}; got {self.method!r}"
            )
        if (self.activation_type, self.weight_type) not in LEGAL_TYPES:
            legal = "; ".join(f"{activation} with {weight}" for activation, weight in LEGAL_TYPES)
            raise RecipeInvalid(
                f"int8_static cannot take activations {self.activation_type!r} with weights "
                f"{self.weight_type!r}; "
                f"legal: {legal}"
            )

    @property
    def needs_samples(self) -> bool:
        """Whether it looks at calibration samples."""
        return True

    def apply(self, model: onnx.ModelProto, context: Context) -> onnx.ModelProto:
        """Return the quantized model; raises ``SamplesInvalid`` without samples, ``RecipeInvalid``
        without effect.
        """
        if not context.samples:
            raise SamplesInvalid("int8_static needs calibration samples; there are none")
        require_layers(model, "int8_static")
        named = Graph(model).model
        exclude = (*self.exclude, *(last_layers(named) if self.heads == "float" else ()))
        step = replace(self, exclude=exclude)
        return quantize_most(named, self.operators, context, step._quantize, "int8_static")

    def _quantize(
        self, model: onnx.ModelProto, operators: Sequence[str], context: Context
    ) -> onnx.ModelProto:
        per_channel = self.per_channel
        if per_channel:
            with contextlib.suppress(Exception):  # onnx's converter knows not every operator
                model = with_opset(model, _AXIS_SINCE)
            per_channel = opset(model) >= _AXIS_SINCE
        runs = (
            feeds(model, context.samples)
            if self.method == "minmax"
            # Of one shape, with the padding the samples have: histograms are stacked.
            else feeds(model, context.samples, 1, trimmed=False)
        )
        step = replace(self, operators=tuple(operators), per_channel=per_channel)
        change = functools.partial(step._change, _Reader(runs))
        with contextlib.redirect_stdout(io.StringIO()):  # histogram calibrators print what they do
            return through_files(without_declared_weights(model), change)

    def _change(self, reader: "_Reader", before: Path, after: Path) -> None:
        quantize_static(
            before,
            after,
            reader,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(self.operators) or None,
            nodes_to_exclude=list(self.exclude),
            per_channel=self.per_channel,
            reduce_range=self.reduce_range,
            use_external_data_format=weights_beside(before),
            activation_type=_TYPES[self.activation_type],
            weight_type=_TYPES[self.weight_type],
            calibrate_method=METHODS[self.method],
        )


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds in the form onnxruntime's calibration asks for: one at a time, None at the end."""

    def __init__(self, runs: Iterator[dict[str, np.ndarray]]) -> None:
        self._runs = runs

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._runs, None)
