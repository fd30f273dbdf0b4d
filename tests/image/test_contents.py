"""What is in the images: what is listed here, and nothing else."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.assets import DOCKERFILE, WORKER_DOCKERFILE
from infra.images.bases import base_of, is_stand_in
from infra.images.contents import (
    MODELS,
    PACKAGES,
    added_files,
    artifact_bytes,
    list_files,
    package_of,
    package_sizes,
)
from infra.images.engine import ContainerEngine
from tests.image.service import ROOT

MAX_BYTES = 420_000_000  # of the function's image without its models, uncompressed
MAX_PACKAGES_BYTES = 120_000_000  # of what we add to the base
PACKAGED = {
    "PIL",
    "aws_lambda_powertools",
    "boto3",
    "botocore",
    "dateutil",
    "flatbuffers",
    "google",
    "jmespath",
    "numpy",
    "onnxlift_runtime",
    "onnxruntime",
    "orjson",
    "packaging",
    "pillow",
    "protobuf",
    "python_dateutil",
    "s3transfer",
    "six",
    "typing_extensions",
    "urllib3",
}
FUNCTIONS = {"__init__", "batch", "predict"}
BUILD_TOOLS = ("bin/gcc", "bin/cc", "bin/make", "bin/git", "bin/cmake", "bin/cargo")

Files = Mapping[str, int]


@pytest.fixture(scope="module")
def files(engine: ContainerEngine, image: str) -> Files:
    return list_files(engine, image)


@pytest.fixture(scope="module")
def added(engine: ContainerEngine, files: Files) -> Files:
    return added_files(files, list_files(engine, base_of(ROOT / DOCKERFILE)))


@pytest.fixture(scope="module")
def worker_added(engine: ContainerEngine, worker_image: str) -> Files:
    base = list_files(engine, base_of(ROOT / WORKER_DOCKERFILE))
    return added_files(list_files(engine, worker_image), base)


def _modules(files: Files, folder: str) -> set[str]:
    """The modules in a folder, each in its source and compiled."""
    names = [Path(name).name for name in files if name.startswith(folder)]
    sources = {name.removesuffix(".py") for name in names if name.endswith(".py")}
    compiled = {name.split(".")[0] for name in names if name.endswith(".pyc")}
    assert sources == compiled
    return sources


def test_the_functions_image_adds_packages_functions_and_models_alone(added: Files) -> None:
    folders = {"/".join(name.split("/")[:2]) for name in added}

    assert folders == {PACKAGES.rstrip("/"), MODELS.rstrip("/"), "var/task"}
    assert {package_of(name) for name in added if name.startswith(PACKAGES)} == PACKAGED
    assert {name.split("/")[2] for name in added if name.startswith("var/task")} == {"handlers"}
    assert _modules(added, "var/task/handlers/") == FUNCTIONS


def test_the_models_are_exactly_what_their_manifests_name(added: Files, config_path: Path) -> None:
    shipped = {name.removeprefix(MODELS) for name in added if name.startswith(MODELS)}

    artifacts = config_path.parent / "artifacts"
    written = {
        path.relative_to(artifacts).as_posix() for path in artifacts.rglob("*") if path.is_file()
    }
    assert shipped == written


def test_the_workers_image_adds_packages_and_the_worker_alone(worker_added: Files) -> None:
    folders = {
        "/".join(name.split("/")[:2])
        for name in worker_added
        if not name.startswith(("usr/", "var/", "etc/"))
    }

    assert folders == {PACKAGES.rstrip("/"), "opt/worker"}
    assert {package_of(name) for name in worker_added if name.startswith(PACKAGES)} == PACKAGED | {
        "onnxruntime_gpu"
    }
    modules = {path.stem for path in (ROOT / "gpu_fallback").rglob("*.py")}
    assert _modules(worker_added, "opt/worker/gpu_fallback/") == modules


@pytest.mark.parametrize("kind", ["added", "worker_added"])
def test_no_tests_and_no_build_tools_are_shipped(kind: str, request: pytest.FixtureRequest) -> None:
    found: Files = request.getfixturevalue(kind)

    assert [
        name
        for name in found
        if "/tests/" in name or "/test_" in name or name.endswith(BUILD_TOOLS)
    ] == []


def test_every_module_is_compiled(added: Files) -> None:
    sources = [name for name in added if name.startswith(PACKAGES) and name.endswith(".py")]
    compiled = {
        name.split(".cpython-")[0].replace("__pycache__/", "")
        for name in added
        if name.endswith(".pyc")
    }

    assert sources
    assert [name for name in sources if name.removesuffix(".py") not in compiled] == []


def test_what_we_add_to_the_base_is_small(files: Files) -> None:
    packages = package_sizes(files)

    told = {name: f"{size / 1_000_000:.1f} MB" for name, size in packages.items()}
    assert sum(packages.values()) <= MAX_PACKAGES_BYTES, told


def test_the_image_without_its_models_is_small(
    engine: ContainerEngine, image: str, files: Files
) -> None:
    if not is_stand_in(engine, image):
        pytest.skip(
            "AWS's base alone may be larger than that; what we add to it is bounded by the test "
            "above"
        )

    assert sum(files.values()) - artifact_bytes(files) <= MAX_BYTES
