"""numpy's files, .npy and .npz, as anybody may have made them: nothing is unpickled, and what is
broken is said.
"""

import contextlib
import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final

import numpy as np
from numpy.lib.npyio import NpzFile

_STARTS: Final = (b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06")
_LONGEST_START: Final = 6
# Each of them is what numpy, or the archive it reads, lets through for some damaged file.
_BROKEN: Final = (
    EOFError,
    MemoryError,
    RuntimeError,
    TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[np.ndarray[Any, np.dtype[Any]] | NpzFile]:
    """The array of a .npy file, or those of an .npz file, for as long as the block lasts.

    Raises ``OSError`` where the file cannot be opened, and ``ValueError`` where it is of another
    kind or broken, which may show only when the block reads.
    """
    with path.open("rb") as file:
        if not file.read(_LONGEST_START).startswith(_STARTS):
            raise ValueError("it does not begin as numpy's files do")
        file.seek(0)
        try:
            yield np.load(file, allow_pickle=False)
        except _BROKEN as error:
            raise ValueError(str(error) or type(error).__name__) from error
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise ValueError("its directory names a place that is not in it") from error


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> None:
    """Write an .npz file; names may be anything, also ``file``, which ``numpy.savez`` takes for
    its own argument.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
