"""Where a search keeps what it made, under a key of everything the outcome depends on, so that it
can go on later.

``<cache>/<model>/<key>/`` holds ``fp32/``, ``normalized/`` where recipes start from another graph,
``beginnings/``, ``calibration.npz``, ``heldout.npz`` and ``candidates/<recipe>-<digest>/`` with
each candidate's files, answers and ``trial.json``, which is written last.
"""

import contextlib
import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import onnxruntime as ort

from onnxlift.compress.model.samples import Samples
from onnxlift.compress.recipes.recipe import Recipe

_LOCK: Final = "lock"


@dataclass(frozen=True)
class Workspace:
    """One search's folder."""

    folder: Path

    @property
    def fp32(self) -> Path:
        """The folder of the fp32 model."""
        return self.folder / "fp32"

    @property
    def normalized(self) -> Path:
        """The folder of the model that recipes start from, where that is another one."""
        return self.folder / "normalized"

    @property
    def start(self) -> Path:
        """The folder of the model that recipes start from."""
        return self.normalized if self.normalized.exists() else self.fp32

    @property
    def beginnings(self) -> Path:
        """The folder of what many recipes begin with."""
        return self.folder / "beginnings"

    @property
    def calibration(self) -> Path:
        """The samples that recipes may look at."""
        return self.folder / "calibration.npz"

    @property
    def held_out(self) -> Path:
        """The samples that judge."""
        return self.folder / "heldout.npz"

    def candidate(self, recipe: Recipe) -> Path:
        """The folder of one recipe's candidate."""
        return self.folder / "candidates" / f"{recipe.name}-{recipe.digest}"


@contextlib.contextmanager
def open_workspace(cache_folder: Path, model: str, key: str) -> Iterator[Workspace]:
    """The workspace of this key, for this process alone; folders of the model's older keys go when
    the block ends well.

    Where another process works on the same model, a folder that nobody keeps is used instead.
    """
    root = cache_folder / "search" / model
    root.mkdir(parents=True, exist_ok=True)
    with (root / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with tempfile.TemporaryDirectory(prefix="onnxlift-") as scratch:
                yield Workspace(Path(scratch))
            return
        folder = root / key
        folder.mkdir(exist_ok=True)
        yield Workspace(folder)
        for older in root.iterdir():
            if older.name not in (key, _LOCK):
                shutil.rmtree(older, ignore_errors=True)


def search_key(*parts: object) -> str:
    """32 hexadecimal digits over the parts, this code's files and onnxruntime's version."""
    return hashlib.sha256(repr((parts, ort.__version__, code_digest())).encode()).hexdigest()[:32]


def samples_digest(samples: Samples | None) -> str:
    """The SHA-256 over names, shapes and values of all samples and their labels."""
    digest = hashlib.sha256()
    if samples is None:
        return digest.hexdigest()
    for name, column in sorted(samples.arrays.items()):
        for array in column if isinstance(column, tuple) else (column,):
            digest.update(repr((name, array.dtype.name, array.shape)).encode())
    for row in samples.digests():
        digest.update(row)
    if samples.labels is not None:
        digest.update(repr(samples.labels.tolist()).encode())
    return digest.hexdigest()


@cache
def code_digest() -> str:
    """The SHA-256 over the files of ``compress``: other code may give other candidates."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
