"""Which models can be deployed, and what Lambda must give them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from infra.models import function_name, read_models, tiers
from onnxlift.config import Config, load_config
from onnxlift_runtime.errors import ArtifactCorrupt, ConfigInvalid, PlacementImpossible
from onnxlift_runtime.manifest import MANIFEST_NAME, Manifest
from tests.support import builders
from tests.support.errors import raises

CONFIG = """
service = "demo"
[models.tiny]
source = "tiny.onnx"
version = 2
[models.tiny.quality]
samples = "heldout.npz"
[models.tiny.placement]
{placement}
"""


def configured(folder: Path, placement: str = "") -> Config:
    path = folder / "onnxlift.toml"
    path.write_text(CONFIG.format(placement=placement))
    return load_config(path)


def write(folder: Path, *manifests: Manifest) -> None:
    for manifest in manifests:
        place = folder / "artifacts" / manifest.name / manifest.version
        place.mkdir(parents=True)
        (place / MANIFEST_NAME).write_text(manifest.to_json())


def version(
    number: int, peak_memory_mb: float = 60.0, p95_ms: float = 1.0, architecture: str = "x86_64"
) -> Manifest:
    manifest = builders.manifest(version=str(number), architecture=architecture, files=())
    latency = tuple(
        replace(item, p95_ms=p95_ms * item.batch_size) for item in manifest.measurements.latency
    )
    measured = replace(manifest.measurements, peak_memory_mb=peak_memory_mb, latency=latency)
    return replace(manifest, measurements=measured)


def test_a_model_brings_all_its_versions_the_newest_last(tmp_path: Path) -> None:
    write(tmp_path, version(10), version(2), version(1))

    (model,), missing = read_models(configured(tmp_path))

    assert [manifest.version for manifest in model.manifests] == ["1", "2", "10"]
    assert (model.name, model.function_name, model.architecture) == (
        "tiny",
        "demo-tiny-predict",
        "x86_64",
    )
    assert not missing


def test_a_model_without_its_configured_version_is_missing(tmp_path: Path) -> None:
    write(tmp_path, version(1))

    models, missing = read_models(configured(tmp_path))

    assert models == ()
    assert missing == {"tiny": "model 'tiny' is not compressed yet; run `onnxlift compress tiny`"}


def test_memory_holds_all_versions_at_once(tmp_path: Path) -> None:
    write(tmp_path, version(1, peak_memory_mb=2_000), version(2, peak_memory_mb=3_000))

    (model,), _ = read_models(configured(tmp_path))

    assert model.memory_mb == 6_656  # 1.3 × 5,000 MB in steps of 256


def test_memory_that_the_user_set_must_hold_all_versions(tmp_path: Path) -> None:
    write(tmp_path, version(1, peak_memory_mb=2_000), version(2, peak_memory_mb=3_000))

    with raises(PlacementImpossible, "6,656"):
        read_models(configured(tmp_path, "memory_mb = 4096"))


@pytest.mark.parametrize(
    ("manifests", "placement", "why"),
    [
        pytest.param((version(2, peak_memory_mb=9_000),), "", "10,240", id="memory"),
        pytest.param((version(1, p95_ms=25_000), version(2)), "", "25.0 s", id="slowest-version"),
        pytest.param(
            (version(2),), 'tier = "gpu"', "the configuration asks for it", id="asked-for"
        ),
    ],
)
def test_a_model_for_the_gpu_knows_the_limit_that_put_it_there(
    tmp_path: Path, manifests: tuple[Manifest, ...], placement: str, why: str
) -> None:
    write(tmp_path, *manifests)

    (model,), _ = read_models(configured(tmp_path, placement))

    assert why in model.placement.reason
    assert (model.on_lambda, model.on_gpu) == (False, True)
    assert model.memory_mb >= model.manifests[0].measurements.peak_memory_mb


def test_a_model_that_falls_back_to_the_gpu_has_both_tiers(tmp_path: Path) -> None:
    write(tmp_path, version(2))

    (model,), _ = read_models(configured(tmp_path, "fallback = true"))

    assert (model.on_lambda, model.on_gpu) == (True, True)
    assert tiers([model]) == {"tiny": ("lambda", "gpu")}


def test_a_model_on_lambda_alone_need_not_be_told(tmp_path: Path) -> None:
    write(tmp_path, version(2))

    (model,), _ = read_models(configured(tmp_path))

    assert tiers([model]) == {}


def test_versions_for_different_processors_cannot_share_an_image(tmp_path: Path) -> None:
    write(tmp_path, version(1, architecture="arm64"), version(2))

    with raises(ConfigInvalid, "version 1 for arm64", "version 2 for x86_64"):
        read_models(configured(tmp_path))


def test_a_folder_with_another_models_manifest_is_refused(tmp_path: Path) -> None:
    write(tmp_path, version(2))
    (tmp_path / "artifacts" / "tiny" / "2").rename(tmp_path / "artifacts" / "tiny" / "3")
    write(tmp_path, version(2))

    with raises(ArtifactCorrupt, "'tiny'", 2):
        read_models(configured(tmp_path))


def test_a_model_file_that_is_not_the_one_compressed_is_refused(tmp_path: Path) -> None:
    builders.write_artifact(tmp_path / "artifacts", builders.linear(), version="2")
    (tmp_path / "artifacts" / "tiny" / "2" / "model.onnx").write_bytes(b"other")

    with raises(ArtifactCorrupt, "model.onnx"):
        read_models(configured(tmp_path))


def test_function_name_may_be_as_long_as_lambda_takes() -> None:
    assert len(function_name("s" * 40, "m" * 15)) == 64


@pytest.mark.parametrize("name", ["half_plus_two", "densenet_onnx", "Model.v1"])
def test_a_function_has_a_name_that_aws_takes(name: str) -> None:
    assert re.fullmatch(r"demo-[a-z][a-z0-9-]*-predict", function_name("demo", name))


def test_function_name_is_refused_when_lambda_would_refuse_it() -> None:
    with raises(ConfigInvalid, 65, 64):
        function_name("s" * 40, "m" * 16)


def test_a_model_that_no_instruction_set_verified_is_not_deployed(tmp_path: Path) -> None:
    blind = replace(version(2), not_verified_on={"x86_64-avx2": "no qemu"})
    write(tmp_path, blind)

    with raises(PlacementImpossible, "allow_unverified"):
        read_models(configured(tmp_path))
