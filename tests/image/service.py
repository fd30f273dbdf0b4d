"""An HTTP API of which every answer comes from a container."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from infra.images.build import build_image
from infra.images.engine import ContainerEngine, find_engine
from infra.images.recipes import model_recipe
from infra.models import read_models
from onnxlift.config import load_config
from onnxlift.local.process import READY, stop
from onnxlift_runtime.errors import BuildError
from tests.image.container import PATH, running_function

ROOT: Final = Path(__file__).resolve().parents[2]
SERVICE: Final = "onnxlift-test"


def require_engine(config: pytest.Config) -> ContainerEngine:
    """The container engine of this machine; skips where images are not asked for, or there is
    none.
    """
    if not config.getoption("--images"):
        pytest.skip("builds and runs images only where it is asked to: make image-test")
    try:
        return find_engine(ROOT / ".onnxlift")
    except BuildError as error:
        pytest.skip(str(error))


def built_image(engine: ContainerEngine, config_path: Path) -> str:
    """The tag of one image with every model of a configuration inside; skips where its base is not
    to be had.
    """
    config = load_config(config_path)
    models, _missing = read_models(config)
    try:
        return build_image(engine, model_recipe(ROOT, SERVICE, models))
    except BuildError as error:
        if "cannot be fetched" in str(error):
            pytest.skip(str(error))
        raise


@contextmanager
def running_image(engine: ContainerEngine, config_path: Path) -> Iterator[str]:
    """The URL of an API whose models all answer from one container."""
    with running_function(engine, built_image(engine, config_path)) as function:
        emulator = f"http://127.0.0.1:{function.port}{PATH}"
        command = [sys.executable, "-m", "tests.image.shim", emulator]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            try:
                assert process.stdout is not None
                yield process.stdout.readline().removeprefix(READY).strip()
            finally:
                stop(process)
