"""Inputs made from a model's signature, for a first answer where there are no samples yet."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import onnx

from onnxlift.columns import Array
from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.samples import Samples
from onnxlift.compress.model.signature import Signature
from onnxlift.compress.model.values import Ranges, make_values
from onnxlift_runtime.errors import SamplesInvalid
from onnxlift_runtime.manifest import TensorSpec

COUNT: Final = 64
_SEED: Final = 20_261_130
# Tried in turn for dimensions of any size: texts, pictures, and what takes one row only.
_SIZES: Final = (16, 32, 64, 128, 224, 256, 320, 512, 1, 2, 3, 1024, 16_000)


def generate_samples(
    session: Any, model: onnx.ModelProto, signature: Signature, batch: Batch
) -> Samples:
    """64 samples, always the same, that the model runs on in ``session``.

    Numbers are normal; pictures and sounds, by the input's name, have their usual range; whole
    numbers stay within the tables that they look up. Raises ``SamplesInvalid`` where nothing runs.
    """
    outputs = [spec.name for spec in signature.outputs]
    failure = ""
    for samples in _offers(signature, batch, Ranges.of(model)):
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


def _offers(signature: Signature, batch: Batch, ranges: Ranges) -> Iterator[Samples]:
    free = any(-1 in batch.sample_shape(spec) for spec in signature.inputs)
    for size in _SIZES if free else _SIZES[:1]:
        yield Samples(
            {spec.name: _column(spec, size, batch, ranges) for spec in signature.inputs},
            batch=batch,
        )


def _column(spec: TensorSpec, size: int, batch: Batch, ranges: Ranges) -> Array:
    """One input of all samples [samples, ...]; what all rows of a run share is equal in all."""
    shape = [size if wanted == -1 else wanted for wanted in batch.sample_shape(spec)]
    shared = bool(batch.axes) and batch.axis(spec.name) is None
    random = np.random.default_rng([_SEED, *spec.name.encode()])
    values = make_values(spec, (1 if shared else COUNT, *shape), ranges, random)
    return np.repeat(values, COUNT, axis=0) if shared else values


def _as_text(feed: Mapping[str, Array]) -> dict[str, Any]:
    return {
        name: np.array([item.decode() for item in array.ravel()], object).reshape(array.shape)
        if array.dtype == object
        else array
        for name, array in feed.items()
    }
