"""The samples of a search, and the conditions that the gate holds on them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxlift.compress.gate.judgement import Gate
from onnxlift.compress.gate.premises import class_numbers, require_numbers_only, require_telling
from onnxlift.compress.model.answers import Answers
from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.batch_evidence import Found
from onnxlift.compress.model.generating import generate_samples
from onnxlift.compress.model.reading import SourceModel
from onnxlift.compress.model.samples import Array, Samples, load_samples, require_disjoint
from onnxlift.compress.model.signature import Signature
from onnxlift.config import Model, Quality
from onnxlift_runtime.errors import ConfigInvalid, SamplesInvalid
from onnxlift_runtime.manifest import Manifest, TensorSpec
from onnxlift_runtime.tensors.datatypes import datatype


def held_out_samples(quality: Quality, source: SourceModel, session: Any, found: Found) -> Samples:
    """The samples that judge: the user's, or some that are made from the signature."""
    signature, batch = found.signature, found.batch
    if quality.samples is None:
        generated = generate_samples(session, source.proto, signature, batch)
        return _whole_batches(generated, batch.rows)
    labels = quality.labels if quality.needs_labels else None
    held_out = load_samples(quality.samples, signature.inputs, labels, batch)
    require_telling(held_out, quality.samples)
    return _whole_batches(held_out, batch.rows)


def calibration_samples(
    model: Model, signature: Signature, batch: Batch, held_out: Samples
) -> Samples | None:
    """The samples that recipes may look at, known to share none with those that judge."""
    if model.calibration is None:
        return None
    calibration = load_samples(model.calibration.samples, signature.inputs, batch=batch)
    require_disjoint(calibration, held_out, model.calibration.samples)
    require_telling(calibration, model.calibration.samples)
    require_numbers_only(calibration, model.calibration.samples)
    return calibration.limit(model.calibration.count)


def _whole_batches(samples: Samples, batch: int) -> Samples:
    if not batch:
        return samples
    whole = len(samples) // batch * batch
    if not whole:
        raise SamplesInvalid(f"the model takes {batch} samples at a time, there are {len(samples)}")
    return samples.take(range(whole))


def judged_output(quality: Quality, draft: Manifest, name: str) -> TensorSpec:
    """The output that the metrics judge; raises ``ConfigInvalid`` where there is no such."""
    outputs = {spec.name: spec for spec in draft.outputs}
    if quality.output is None:
        return draft.outputs[0]
    if quality.output not in outputs:
        raise ConfigInvalid(
            f"models.{name}.quality.output: there is no output {quality.output!r}; the model has "
            f"{', '.join(map(repr, outputs))}"
        )
    return outputs[quality.output]


def fitting_conditions(quality: Quality, output: TensorSpec) -> Quality:
    """The configured conditions; without samples and a metric, one that fits the output."""
    if quality.samples is not None or "metric" in quality.model_fields_set:
        return quality
    return quality.model_copy(update={"metric": _fitting_metric(output)})


def _fitting_metric(output: TensorSpec) -> str:
    if datatype(output.datatype).kind != "float":
        return "top1_agreement"
    return "cosine" if output.shape[1:] and output.shape[-1] != 1 else "spearman"


def class_labels(judged: TensorSpec, held_out: Samples, path: Path) -> Array | None:
    """The labels, as numbers where they are the names of the judged output's classes."""
    if held_out.labels is None:
        return None
    return class_numbers(held_out.labels, judged.labels, path)


def make_gate(
    quality: Quality, output: str, references: Mapping[int, Answers], labels: Array | None
) -> Gate:
    """The gate; raises ``SamplesInvalid`` where a metric does not fit, with the way out where the
    inputs were made.
    """
    try:
        return Gate.of(quality, output, references, labels)
    except SamplesInvalid as error:
        if quality.samples is not None:
            raise
        raise SamplesInvalid(
            f"{error}; the inputs were made from the model's signature: name samples of your own "
            f"in quality.samples, or another quality.metric"
        ) from error
