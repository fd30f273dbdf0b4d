"""The table of ``onnxlift.toml`` for a model file: what the file says, and what is left to fill
in.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.batch_evidence import evidence_of
from onnxlift.compress.model.batch_finding import find_batch
from onnxlift.compress.model.reading import read_source
from onnxlift.compress.model.signature import Signature
from onnxlift.config import Model
from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.manifest import TensorSpec

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_NAME: Final = 64


def name_of(path: Path) -> str:
    """A model name from a file's name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("._-")[:_LONGEST_NAME]
    return name or "model"


def table_of(path: Path, name: str, source: str) -> str:
    """The TOML table of one model, with comments; ``source`` is how it names the file.

    Raises ``ModelRefused`` where the file cannot be served.
    """
    model = read_source(path)
    evidence = evidence_of(name, model, None)
    try:
        found = find_batch(Model(source=path), evidence)
        lines = list(_lines(found.signature, found.batch))
    except ConfigInvalid as error:
        lines = [f"# To do: {error}", *_lines(evidence.signature, Batch())]
    key = name if _BARE.fullmatch(name) else json.dumps(name)
    head = [f"[models.{key}]", f"source = {json.dumps(source, ensure_ascii=False)}"]
    return "\n".join([*head, *lines, *_samples(key, evidence.signature)]) + "\n"


def _lines(signature: Signature, batch: Batch) -> Iterator[str]:
    for role, specs in (("input", signature.inputs), ("output", signature.outputs)):
        yield from (f"# {role} {_described(spec, batch)}" for spec in specs)
    yield from _remarks(signature.outputs[0], batch)


def _remarks(output: TensorSpec, batch: Batch) -> Iterator[str]:
    if batch.rows:
        yield f"# The model takes exactly {batch.rows} rows at a time."
    elif not batch.max_batch_size:
        yield "# No batch was found: one request is one run."
    columns = output.shape[-1] if output.shape[1:] else 0
    if columns > 1:
        yield f"# classes = []  # {columns} names, if the output's columns are classes"


def _described(spec: TensorSpec, batch: Batch) -> str:
    axis = batch.axis(spec.name)
    sizes = ("any" if size == -1 else str(size) for size in spec.shape)
    shape = ", ".join("rows" if place == axis else size for place, size in enumerate(sizes))
    return f"{spec.name}: {spec.datatype} [{shape}]"


def _samples(key: str, signature: Signature) -> Sequence[str]:
    names = ", ".join(repr(spec.name) for spec in signature.inputs)
    return (
        "",
        "# Without samples no real data judges the model, and recipes that calibrate are left out.",
        f"# A .npz file holds one array per input ({names}), samples first.",
        f"# [models.{key}.calibration]",
        '# samples = "calibration.npz"  # 100 to 500 samples, none of them in the file below',
        f"# [models.{key}.quality]",
        '# samples = "heldout.npz"',
        '# metric = "cosine"  # accuracy needs an array "labels" in the file',
        "# max_drop = 0.01",
    )
