"""Make the stand-ins that are needed: a base that is here, or can be fetched, is left as it is."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from infra.assets import DOCKERFILE, WORKER_DOCKERFILE
from infra.images.bases import STAND_IN, base_of, require_base
from infra.images.engine import ContainerEngine, find_engine
from infra.images.standin.emulator import ENTRY_POINT, add_emulator
from infra.images.standin.system import make_system
from onnxlift_runtime.errors import ImageFailed, OnnxliftError

ROOT: Final = Path(__file__).resolve().parents[3]
# As AWS's base for Python has them.
LAMBDA_CONFIGURATION: Final = (
    "ENV LANG=en_US.UTF-8 TZ=:/etc/localtime LAMBDA_TASK_ROOT=/var/task "
    "LAMBDA_RUNTIME_DIR=/var/runtime",
    "WORKDIR /var/task",
    f'ENTRYPOINT ["/{ENTRY_POINT}"]',
)


def main() -> int:
    """Make them and say so; an error is one line on stderr and status 1."""
    try:
        engine = find_engine(ROOT / ".onnxlift")
        names = [base_of(ROOT / dockerfile) for dockerfile in (WORKER_DOCKERFILE, DOCKERFILE)]
        wanted = [name for name in names if not _is_there(engine, name)]
        if wanted:
            _make(engine, *(name if name in wanted else "" for name in names))
    except OnnxliftError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    for name in names:
        print(f"{name}  {'made to stand for it' if name in wanted else 'is here'}")  # noqa: T201
    return 0


def _is_there(engine: ContainerEngine, name: str) -> bool:
    try:
        require_base(engine, name)
    except ImageFailed:
        return False
    return True


def _make(engine: ContainerEngine, cuda: str, function: str) -> None:
    """Both from one system, first without the emulator, then with it; an empty name stands for a
    base that is here.
    """
    with tempfile.TemporaryDirectory(prefix="onnxlift-system-") as scratch:
        folder = Path(scratch) / "system"
        make_system(folder)
        if cuda:
            _import(engine, folder, cuda, ())
        if function:
            add_emulator(folder)
            _import(engine, folder, function, LAMBDA_CONFIGURATION)


def _import(engine: ContainerEngine, folder: Path, name: str, configuration: Sequence[str]) -> None:
    """Make an image of a folder."""
    archive = folder.with_suffix(".tar")
    # tar itself: it keeps owners and links, and leaves out the device files that engines bring by
    # themselves.
    subprocess.run(  # noqa: S603
        ["tar", "-C", str(folder), "--exclude=./dev/*", "-cf", str(archive), "."],  # noqa: S607
        check=True,
    )
    changes = [f"--change={line}" for line in (f"LABEL {STAND_IN}=true", *configuration)]
    engine.run("import", *changes, str(archive), name)


if __name__ == "__main__":
    sys.exit(main())
