"""Take out of a folder of installed packages what no function of ours ever loads: ``python slim.py
FOLDER``.

Runs inside the build of an image, on the base's own Python: it loads the standard library alone. A
pattern that finds nothing ends the build, because a package was renamed or is gone, and what was to
be left out may now be in.
"""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

MB: Final = 1_000_000

# Patterns below the folder, and why nothing there is needed. Licences and the packages' metadata
# stay.
LEFT_OUT: Final = {
    "aws_lambda_powertools/event_handler": "answers requests; ours do that themselves",
    "aws_lambda_powertools/metrics/provider/datadog": "metrics go to CloudWatch",
    "aws_lambda_powertools/utilities/[!_j]*": "everything but what its metrics load",
    "bin": "commands",
    "numpy/**/tests": "tests",
    "numpy/typing": "types for type checkers",
    "numpy/**/*.pyi": "types for type checkers",
    "numpy/**/*.pxd": "for compiling against it",
    "numpy/f2py": "for compiling Fortran",
    "numpy/_core/include": "for compiling against it",
    "numpy/_core/lib": "for compiling against it",
    "numpy/_pyinstaller": "for freezing programs",
    "numpy/random/_examples": "for compiling against it",
    "numpy/random/lib": "for compiling against it",
    "onnxruntime/backend": "the runner of ONNX's own tests",
    "onnxruntime/capi/libonnxruntime.so.*": "the C library; Python's module holds all of it a "
    "second time",
    "onnxruntime/datasets": "example models",
    "onnxruntime/quantization": "compresses models, on the laptop",
    "onnxruntime/tools": "converts models, on the laptop",
    "onnxruntime/transformers": "optimises models, on the laptop",
    "PIL/**/*.pyi": "types for type checkers",
    "PIL/_avif.*": "only JPEG and PNG are read",
    "PIL/_imagingcms.*": "only pixels are read",
    "PIL/_imagingft.*": "nothing is drawn",
    "PIL/_imagingtk.*": "nothing is shown",
    "PIL/_webp.*": "only JPEG and PNG are read",
    "pillow.libs/libavif-*": "of PIL/_avif",
    "pillow.libs/libbrotli*": "of PIL/_imagingft",
    "pillow.libs/libfreetype-*": "of PIL/_imagingft",
    "pillow.libs/libharfbuzz-*": "of PIL/_imagingft",
    "pillow.libs/liblcms2-*": "of PIL/_imagingcms",
    "pillow.libs/libpng16-*": "of PIL/_imagingft; Pillow reads PNG by itself",
    "pillow.libs/libsharpyuv-*": "of PIL/_webp",
    "pillow.libs/libwebp*": "of PIL/_webp",
    "boto3/examples": "documentation",
}
# botocore describes 400 services, each in a folder of its own; these are the ones that a function
# or worker calls.
SERVICE_DATA: Final = "botocore/data"
SERVICES: Final = ("dynamodb", "ecs", "events", "s3", "secretsmanager", "sns", "sqs", "sts")


def slim(folder: Path) -> dict[str, int]:
    """Remove what ``LEFT_OUT`` names and the services that are not called; returns the bytes that
    each pattern took.

    Raises ``FileNotFoundError`` for a pattern that finds nothing, or a service that botocore does
    not describe.
    """
    removed = {pattern: _remove(_found(folder, pattern)) for pattern in LEFT_OUT}
    return {**removed, SERVICE_DATA: _remove(_other_services(folder / SERVICE_DATA))}


def size_bytes(path: Path) -> int:
    """What a file, or everything in a folder, takes; links count as nothing."""
    files = path.rglob("*") if path.is_dir() else iter([path])
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def _found(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"nothing in {folder} is called {pattern}; look what became of it")
    return found


def _other_services(data: Path) -> list[Path]:
    folders = {path.name: path for path in data.iterdir() if path.is_dir()}
    if unknown := set(SERVICES) - folders.keys():
        raise FileNotFoundError(f"botocore does not describe {', '.join(sorted(unknown))}")
    return [folders[name] for name in sorted(folders.keys() - set(SERVICES))]


def _remove(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        total += size_bytes(path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # a pattern may name a folder and what is in it
    return total


def main(folder: Path) -> None:
    """Slim ``folder`` and print what that saved."""
    before = size_bytes(folder)
    for pattern, taken in sorted(slim(folder).items(), key=lambda item: -item[1]):
        why = LEFT_OUT.get(pattern, f"every service but {', '.join(SERVICES)}")
        print(f"{taken / MB:7.2f} MB  {pattern:38} {why}")  # noqa: T201
    print(f"{before / MB:7.2f} MB  before, {size_bytes(folder) / MB:.2f} MB after")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
