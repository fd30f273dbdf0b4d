"""What a model's batch is found by: its signature, samples where there are some, and runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onnxlift.columns import Column
from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.batch_trial import (
    Rows,
    Trial,
    from_samples,
    generated,
    keeps_rows_apart,
    try_rows,
)
from onnxlift.compress.model.padding import depends_on_neighbours, selects_rows
from onnxlift.compress.model.reading import SourceModel
from onnxlift.compress.model.samples import read_columns
from onnxlift.compress.model.signature import Signature, open_session, signature_of
from onnxlift.compress.model.values import Ranges
from onnxlift_runtime.errors import DatatypeMismatch
from onnxlift_runtime.manifest import TensorSpec


@dataclass(frozen=True)
class Found:
    """The batch, and the signature with what the runs showed of it."""

    batch: Batch
    signature: Signature


@dataclass(frozen=True)
class Evidence:
    """What there is to go by.

    ``stored`` are samples as their file has them, empty where there are none. ``mixing`` says that
    the model takes scales from whole batches, so that rows depend on each other a little.
    ``selecting`` says that the model has operators whose output has as many rows as the values
    decide. ``ranges`` is what the graph says about the whole numbers that it takes.
    """

    session: Any
    signature: Signature
    stored: Mapping[str, Column]
    where: str
    mixing: bool = False
    selecting: bool = False
    ranges: Ranges = field(default_factory=Ranges)


def evidence_of(name: str, source: SourceModel, samples: Path | None) -> Evidence:
    """Open the model called ``name`` and read its samples, if there are any; raises
    ``ModelRefused`` or ``SamplesInvalid``.
    """
    session = open_session(source.path)
    signature = signature_of(session, source.path)
    return Evidence(
        session,
        signature,
        read_columns(samples, [spec.name for spec in signature.inputs]) if samples else {},
        f"models.{name}",
        mixing=depends_on_neighbours(source.proto),
        selecting=selects_rows(source.proto),
        ranges=Ranges.of(source.proto),
    )


def named_alike(inputs: Mapping[str, int], signature: Signature) -> dict[str, int]:
    """The outputs that have a dimension of the same name as the batch of an input, with it."""
    names = {signature.names[name][axis] for name, axis in inputs.items()} - {""}
    return {
        spec.name: next(
            axis for axis, name in enumerate(signature.names[spec.name]) if name in names
        )
        for spec in signature.outputs
        if names & set(signature.names[spec.name])
    }


def sources(evidence: Evidence) -> Iterator[Rows]:
    """Rows to try, those of the samples first."""
    if evidence.stored:
        yield from_samples(evidence.stored)
    yield from generated(evidence.signature, evidence.ranges)


def tried(evidence: Evidence, inputs: Mapping[str, int], source: Rows) -> Trial | None:
    """What runs of these rows show; None where they are no rows of the inputs."""
    try:
        return try_rows(evidence.session, evidence.signature, inputs, source)
    except (ValueError, IndexError, DatatypeMismatch):
        return None


def gives(rows: Rows, spec: TensorSpec, axis: int | None) -> bool:
    """Whether an input has rows on an axis, or where that is None a whole array."""
    try:
        rows(spec, axis)
    except (ValueError, IndexError):
        return False
    return True


def keeps_apart(
    inputs: Mapping[str, int], rows: int, source: Rows, evidence: Evidence
) -> Mapping[str, int] | None:
    """The outputs of a fixed batch whose rows stay apart; None where none do, or nothing runs."""
    try:
        feed = {
            spec.name: source(spec, inputs.get(spec.name)) for spec in evidence.signature.inputs
        }
    except (ValueError, IndexError, DatatypeMismatch):
        return None
    index = np.arange(rows) % 3
    filled = {
        name: np.take(array, index, inputs[name]) if name in inputs else array
        for name, array in feed.items()
    }
    return keeps_rows_apart(evidence.session, inputs, filled)
