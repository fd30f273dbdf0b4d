"""The files of a model as its GPU workers fetch them: each by what is in it, and an index that says
which there are.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from infra.models import DeployedModel
from onnxlift_runtime.manifest import FileEntry, Manifest


def weight_files(model: DeployedModel) -> Iterator[tuple[Manifest, FileEntry, Path]]:
    """Every file of every version, with where it lies here."""
    for manifest in model.manifests:
        for entry in manifest.files:
            yield manifest, entry, model.folder / manifest.version / entry.path


def encode_index(manifests: Iterable[Manifest], keys: Mapping[tuple[str, str], str]) -> str:
    """The index, in which each file of a version has its key in the index's own bucket."""
    models = [
        {
            "manifest": json.loads(manifest.to_json()),
            "files": {entry.path: keys[manifest.version, entry.path] for entry in manifest.files},
        }
        for manifest in manifests
    ]
    return json.dumps({"models": models}, indent=1)
