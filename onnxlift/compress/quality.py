"""The quality gate: run held-out samples through the code that will serve them, and compare with the fp32 model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from onnxlift.compress.samples import Array, Samples
from onnxlift.compress.signature import Signature
from onnxlift.config import Quality as Limit
from onnxlift_runtime.errors import InferenceFailed, InputMismatch, ModelRefused, QualityGateFailed, SamplesInvalid
from onnxlift_runtime.manifest import Quality
from onnxlift_runtime.session import Session
from onnxlift_runtime.tensors import bfloat16_to_float32

# Dynamic int8 takes one range for a whole batch, so its answers depend on the batch: the worse figure counts.
BATCHES: Final = (1, 32)
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class Judge:
    """A metric, the samples it is taken on, and what the fp32 model answers to them.

    Answers are those of the model's first output, samples first. ``figure`` is the fp32 model's.
    """

    limit: Limit
    samples: Samples
    output: str
    batches: tuple[int, ...]
    answers: Array
    figure: float

    @classmethod
    def of(cls, limit: Limit, samples: Samples, signature: Signature, reference: Session) -> "Judge":
        """Let the fp32 model answer; raises ``SamplesInvalid`` or ``ModelRefused`` where that gives no figure."""
        batches = (signature.batch,) if signature.batch else BATCHES
        samples = _whole_batches(samples, signature.batch)
        output = signature.outputs[0].name
        try:
            answers = answer(reference, samples, output, batches[-1])
        except (InputMismatch, InferenceFailed) as error:
            raise SamplesInvalid(f"{limit.samples}: the model cannot run on these samples: {error}") from error
        if answers.dtype.kind == "f" and np.isnan(answers).any():
            raise ModelRefused(f"the fp32 model's output {output!r} is NaN on some of {limit.samples}")
        return cls(limit, samples, output, batches, answers, METRICS[limit.metric](answers, answers, samples.labels))

    def measure(self, session: Session) -> Quality:
        """The candidate's figure: the worst over the batch sizes; raises ``QualityGateFailed`` where it answers NaN."""
        figures = [self._figure(answer(session, self.samples, self.output, rows)) for rows in self.batches]
        return Quality(self.limit.metric, self.figure, min(figures), self.limit.max_drop, len(self.samples))

    def _figure(self, answers: Array) -> float:
        if answers.dtype.kind == "f" and np.isnan(answers).any():
            raise QualityGateFailed(f"its output {self.output!r} is NaN on some held-out samples")
        return METRICS[self.limit.metric](self.answers, answers, self.samples.labels)


def passes(quality: Quality) -> bool:
    """Whether the drop is within what is allowed; a figure that is no number never is."""
    return quality.drop <= quality.max_drop + _ROUNDING


def answer(session: Session, samples: Samples, output: str, rows: int) -> Array:
    """One output for all samples, computed ``rows`` at a time; raises what ``Session.run`` raises."""
    pieces = [session.run(feed, [output])[output] for feed in samples.batches(rows)]
    answers = np.concatenate(pieces)
    if len(answers) != len(samples):
        raise SamplesInvalid(f"output {output!r} has {len(answers)} rows for {len(samples)} samples")
    spec = next(spec for spec in session.manifest.outputs if spec.name == output)
    return bfloat16_to_float32(answers) if spec.datatype == "BF16" else answers


def accuracy(_reference: Array, answers: Array, labels: Array | None) -> float:
    """The share of samples whose class is the label."""
    if labels is None:
        raise SamplesInvalid("the metric 'accuracy' needs labels; name their array with quality.labels")
    found = classes(answers)
    if found.shape != labels.shape:
        raise SamplesInvalid(f"the labels have shape {list(labels.shape)}, the model's classes {list(found.shape)}")
    return float(np.mean(found == (np.char.encode(labels, "utf-8") if labels.dtype.kind == "U" else labels)))


def top1_agreement(reference: Array, answers: Array, _labels: Array | None) -> float:
    """The share of samples whose class is the fp32 model's."""
    return float(np.mean(classes(answers) == classes(reference)))


def cosine(reference: Array, answers: Array, _labels: Array | None) -> float:
    """The mean over the samples of the cosine similarity with the fp32 model's answer."""
    first, second = (array.reshape(len(array), -1).astype(np.float64) for array in (reference, answers))
    if first.shape[1] < 2:
        raise SamplesInvalid("the metric 'cosine' needs at least two values for each sample; the first output has one")
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products = np.einsum("ij,ij->i", first, second)
    both_zero = ~(first.any(axis=1) | second.any(axis=1))
    similarity = np.where(lengths > 0, products / np.where(lengths > 0, lengths, 1), both_zero)
    return float(np.mean(np.clip(similarity, -1, 1)))


METRICS: Final[Mapping[str, Callable[[Array, Array, Array | None], float]]] = {
    "accuracy": accuracy,
    "top1_agreement": top1_agreement,
    "cosine": cosine,
}


def classes(answers: Array) -> Array:
    """The class of each sample: where the last dimension is largest, or the answer itself where it is no float.

    Raises ``SamplesInvalid`` for an output with one number per sample, whose classes nobody declared.
    """
    if answers.dtype.kind != "f":
        return answers
    if answers.ndim < 2 or answers.shape[-1] < 2:
        raise SamplesInvalid("the first output has one value for each sample and no classes; use another metric")
    return np.asarray(np.argmax(answers, axis=-1))


def _whole_batches(samples: Samples, batch: int) -> Samples:
    if not batch:
        return samples
    whole = len(samples) // batch * batch
    if not whole:
        raise SamplesInvalid(f"the model takes {batch} samples at a time, there are {len(samples)}")
    return samples.take(range(whole))
