"""One real `onnxlift serve` process for each test worker, with a tiny model of every kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxlift.local.process import RunningService, running_service
from onnxlift_runtime.tensors.datatypes import DATATYPES
from tests.image.service import require_engine, running_image
from tests.support import builders
from tests.support.targets import TARGETS, Target, deployed_target

LABELS = ("cat", "dog", "cow", "emu")
MODEL_TABLE = (
    '[models.{name}]\nsource = "{name}.onnx"\n[models.{name}.quality]\nsamples = "heldout.npz"\n'
)


def write_config(folder: Path, *models: str) -> Path:
    """Write an onnxlift.toml that configures ``models``; their artifacts belong below
    ``folder/artifacts``.
    """
    path = folder / "onnxlift.toml"
    path.write_text(
        'service = "tiny"\n' + "".join(MODEL_TABLE.format(name=name) for name in models)
    )
    return path


def write_models(root: Path) -> list[str]:
    """Write every model that the tests here call, and return their names."""
    scores = (builders.spec("probabilities", "FP32", (-1, len(LABELS)), LABELS),)
    written = [
        builders.write_artifact(
            root, builders.mlp(), outputs=scores, name="mlp", version_labels=("stable",)
        ),
        builders.write_artifact(root, builders.linear(seed=1), name="linear", version="1"),
        builders.write_artifact(root, builders.linear(seed=2), name="linear", version="2"),
        builders.write_artifact(root, builders.failing(), name="failing"),
        builders.write_artifact(
            root,
            builders.identities({"a": ("FP32", (-1, 2)), "b": ("BYTES", (-1, 1))}),
            name="pair",
        ),
        builders.write_artifact(
            root, builders.identity("FP32", ()), name="scalar", max_batch_size=0
        ),
    ]
    for datatype in DATATYPES:
        model = builders.identity(datatype.name, (-1, -1))
        written.append(builders.write_artifact(root, model, name=f"same-{datatype.name.lower()}"))
    return list(dict.fromkeys(manifest.name for manifest in written))


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with the artifacts of every model, and their names."""
    folder = tmp_path_factory.mktemp("service")
    return folder, write_models(folder / "artifacts")


@pytest.fixture(scope="package")
def service(models: tuple[Path, list[str]]) -> Iterator[RunningService]:
    folder, names = models
    with running_service(write_config(folder, *names), ["--quiet"]) as running:
        yield running


@pytest.fixture(scope="package", params=TARGETS)
def target(request: pytest.FixtureRequest, models: tuple[Path, list[str]]) -> Iterator[Target]:
    """Each API that there is, the local service at least; the others skip with the reason."""
    folder, names = models
    if request.param == "serve":
        yield Target(request.getfixturevalue("service").url, frozenset(names))
    elif request.param == "image":
        with running_image(require_engine(request.config), write_config(folder, *names)) as url:
            yield Target(url, frozenset(names))
    else:
        yield deployed_target()
