"""One deployment for all files here, which take it through its life in the order of their names."""

import signal
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from infra.images.bases import base_of, require_base
from infra.images.engine import ContainerEngine, find_engine
from onnxlift_runtime.errors import BuildError
from tests.e2e.cloud import ROOT, Cloud
from tests.e2e.containers import bridge, docker_host
from tests.e2e.emulator import install, running_emulator
from tests.integration.conftest import LABELS
from tests.support import builders
from tests.support.targets import Target

SERVICE = "e2e"
CONFIG = """
service = "e2e"

[models.mlp]
source = "mlp.onnx"
[models.mlp.quality]
samples = "heldout.npz"

[models.linear]
source = "linear.onnx"
version = 2
[models.linear.quality]
samples = "heldout.npz"

[models.endless]
source = "endless.onnx"
[models.endless.quality]
samples = "heldout.npz"

[api]
api_key_required = true

[jobs]
timeout_s = 3
batch_size = 5
"""


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> ContainerEngine:
    """The container engine with the base of our images; skips where nobody asked for an emulated
    account.
    """
    if not request.config.getoption("--e2e"):
        pytest.skip("deploys to an emulator only where it is asked to: make e2e")
    try:
        engine = find_engine(ROOT / ".onnxlift")
        require_base(engine, base_of(ROOT / "handlers" / "Dockerfile"))
    except BuildError as error:
        pytest.skip(str(error))
    return engine


@pytest.fixture(scope="session")
def interruptible() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does: what was started is taken away."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def empty_cloud(
    engine: ContainerEngine, interruptible: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cloud]:
    """An account without anything, which ends with the tests, also where they are interrupted."""
    folder = tmp_path_factory.mktemp("cloud")
    base = base_of(ROOT / "handlers" / "Dockerfile")
    with (
        docker_host(engine, folder) as docker,
        bridge(engine, base) as network,
        running_emulator(install(ROOT), network, docker, folder) as url,
    ):
        yield Cloud.at(url, folder, engine.program)


@pytest.fixture
def api(cloud: Cloud) -> Target:
    return cloud.api(SERVICE)


@pytest.fixture(scope="session")
def cloud(empty_cloud: Cloud) -> Cloud:
    """The account with the service deployed to it."""
    write_service(empty_cloud.folder)
    empty_cloud.bootstrap()
    empty_cloud.deploy()
    return empty_cloud


def write_service(folder: Path) -> None:
    """Its configuration, and the artifacts of two models, one of which has two versions."""
    root = folder / "artifacts"
    scores = (builders.spec("probabilities", "FP32", (-1, len(LABELS)), LABELS),)
    builders.write_artifact(
        folder / "artifacts", builders.mlp(), outputs=scores, name="mlp", version_labels=("stable",)
    )
    for version in (1, 2):
        builders.write_artifact(
            folder / "artifacts", builders.linear(seed=version), name="linear", version=str(version)
        )
    builders.write_artifact(root, _endless(), name="endless", max_batch_size=0)
    (folder / "onnxlift.toml").write_text(CONFIG)


def _endless() -> onnx.ModelProto:
    """Counts as far as the request tells: further than any function may run."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Add", ["sum", "step"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.INT64, []),
        ],
        [helper.make_tensor("step", TensorProto.INT64, [], [1])],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["turns"], keepdims=0),
        helper.make_node(
            "Constant", [], ["true"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True])
        ),
        helper.make_node(
            "Constant", [], ["zero"], value=helper.make_tensor("z", TensorProto.INT64, [], [0])
        ),
        helper.make_node("Loop", ["turns", "true", "zero"], ["y"], body=body),
    ]
    return builders.build(
        nodes, [builders.value("x", "INT64", (1,))], [builders.value("y", "INT64", ())]
    )
