"""What a model file and its samples say about its batch."""

from pathlib import Path
from typing import Final

from onnxlift.compress.model.batch_finding import Evidence
from onnxlift.compress.model.padding import depends_on_neighbours, selects_rows
from onnxlift.compress.model.reading import SourceModel
from onnxlift.compress.model.samples import read_columns
from onnxlift.compress.model.signature import open_session, signature_of

TABLE: Final = "models.{}"


def evidence_of(name: str, source: SourceModel, samples: Path | None) -> Evidence:
    """Open the model called ``name`` and read its samples, if there are any; raises
    ``ModelRefused`` or ``SamplesInvalid``.
    """
    session = open_session(source.path)
    signature = signature_of(session, source.path)
    names = [spec.name for spec in signature.inputs]
    return Evidence(
        session,
        signature,
        read_columns(samples, names) if samples else {},
        TABLE.format(name),
        mixing=depends_on_neighbours(source.proto),
        selecting=selects_rows(source.proto),
    )
