"""The images, built once for a run from the models below, and what of this machine they need."""

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from infra.images.build import build_image
from infra.images.engine import ContainerEngine
from infra.images.recipes import worker_recipe
from tests.image.container import RunningFunction, running_function
from tests.image.service import ROOT, SERVICE, built_image, require_engine
from tests.integration.conftest import write_config
from tests.support import builders

HUNGRY_MEMORY_MB = 512
HEAVY_MB = 128  # the least memory that Lambda gives


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> ContainerEngine:
    return require_engine(request.config)


@pytest.fixture(scope="session")
def config_path(engine: ContainerEngine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``linear`` in two versions, and ``hungry``, which takes as much memory as a request wants."""
    folder = tmp_path_factory.mktemp("image")
    builders.write_artifact(
        folder / "artifacts", builders.linear(seed=1), name="linear", version="1"
    )
    builders.write_artifact(
        folder / "artifacts", builders.linear(seed=2), name="linear", version="2"
    )
    builders.write_artifact(folder / "artifacts", _hungry(), name="hungry", max_batch_size=0)
    return write_config(folder, "linear", "hungry")


@pytest.fixture(scope="session")
def image(engine: ContainerEngine, config_path: Path) -> str:
    return built_image(engine, config_path)


@pytest.fixture(scope="session")
def worker_image(engine: ContainerEngine) -> str:
    return build_image(engine, worker_recipe(ROOT, SERVICE))


@pytest.fixture(scope="module")
def function(engine: ContainerEngine, image: str) -> Iterator[RunningFunction]:
    """The function that answers requests, with the memory that placement gives the smallest
    models.
    """
    with running_function(engine, image) as running:
        yield running


@pytest.fixture(scope="session")
def heavy(engine: ContainerEngine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights alone take ``HEAVY_MB``, readable by the user that functions run as."""
    folder = tmp_path_factory.mktemp("heavy")
    folder.chmod(0o755)
    inputs = 1_000
    builders.write_artifact(
        folder,
        builders.linear(inputs, HEAVY_MB * 1_000_000 // (4 * inputs), bias=False),
        name="heavy",
    )
    return folder


def _hungry() -> onnx.ModelProto:
    """The sum of a tensor of ones with the shape that the request tells."""
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("ConstantOfShape", ["x"], ["ones"], name="ones", value=one),
        helper.make_node("ReduceSum", ["ones"], ["y"], name="sum", keepdims=0),
    ]
    return builders.build(
        nodes, [builders.value("x", "INT64", (1,))], [builders.value("y", "FP32", ())]
    )
