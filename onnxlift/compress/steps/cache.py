"""What recipes have in common beyond their beginning: arrays that take long to find, each found by
whoever comes first.

Most recipes store the same matrix in the same form as another one does; only which matrices and
tables differ.
"""

import fcntl
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class WeightCache:
    """Arrays kept in ``folder`` under everything they depend on; without a folder nothing is
    kept.
    """

    folder: Path | None = None

    def take(
        self, key: Sequence[object], make: Callable[[], Sequence[np.ndarray]]
    ) -> tuple[np.ndarray, ...]:
        """The arrays of ``key``, from ``make`` where nobody made them yet; who comes meanwhile
        waits for them.

        Arrays in ``key`` stand for their values. Raises what ``make`` raises; then nothing is kept.
        """
        if self.folder is None:
            return tuple(make())
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{_digest(key)}.npz"
        if not path.exists():
            with path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists():
                    _keep(make(), path)
        with np.load(path, allow_pickle=False) as kept:
            return tuple(kept[name] for name in kept.files)


def _keep(arrays: Sequence[np.ndarray], path: Path) -> None:
    """Write under another name first: a process that is killed leaves nothing that looks
    finished.
    """
    unfinished = path.with_suffix(".part.npz")
    np.savez(unfinished, *arrays)
    unfinished.replace(path)


def _digest(key: Sequence[object]) -> str:
    digest = hashlib.sha256()
    for part in key:
        if isinstance(part, np.ndarray):
            digest.update(
                repr((part.shape, part.dtype.str)).encode() + np.ascontiguousarray(part).tobytes()
            )
        else:
            digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]
