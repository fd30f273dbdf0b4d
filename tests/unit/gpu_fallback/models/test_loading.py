"""A worker's models on real sessions: fetched, opened, dropped, and what happens where one of these
fails.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_fallback.models.devices import Hardware
from gpu_fallback.models.loading import AWAY_FOR_S, BROKEN_FOR_S, Models
from onnxlift_runtime.dataplane.batching import Runner
from onnxlift_runtime.dataplane.session import Session
from onnxlift_runtime.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    DeviceMissing,
    InputMismatch,
    ModelUnavailable,
    StoreUnavailable,
)
from onnxlift_runtime.settings import Limits, Settings, WorkerSettings
from tests.support import builders
from tests.support.errors import raises
from tests.support.gpu.buckets import BUCKET, URL, assets, upload
from tests.support.gpu.fakes import ROWS, Memory, Source, models_of, named

__all__ = ["assets"]

NO_GPU = Hardware("no CUDA here")


def opened(root: Path, told: WorkerSettings) -> Models:
    return Models.open(Settings(models_dir=root, threads=1), told, NO_GPU)


def test_what_a_worker_reads_is_what_uploads_may_bring() -> None:
    assert models_of(Memory(1), Source()).limits == Limits()


def test_models_below_the_folder_run_as_they_do_alone(tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path, builders.linear())
    models: Runner = opened(tmp_path, WorkerSettings(allow_cpu=True))
    alone = Session(tmp_path / "tiny" / "1", manifest, threads=1, verify=True)

    answer = models.run(models.catalog.find("tiny"), {"x": ROWS}, ["y"])

    np.testing.assert_array_equal(answer["y"], alone.run({"x": ROWS}, ["y"])["y"])


def test_only_the_models_that_it_serves_are_in_the_catalog(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        builders.write_artifact(tmp_path, builders.linear(), name=name)

    models = opened(tmp_path, WorkerSettings(serve="one,three", allow_cpu=True))

    assert list(models.catalog.models) == ["one", "three"]


def test_models_come_from_the_index_when_they_are_first_needed(assets: Any, tmp_path: Path) -> None:
    manifests = [
        builders.write_artifact(tmp_path / "built", builders.linear(), name=name)
        for name in ("a", "b")
    ]
    upload(assets, tmp_path / "built", *manifests)
    told = WorkerSettings(weights=URL, allow_cpu=True)
    models = opened(tmp_path / "cache", told)

    answer = models.run(models.catalog.find("a"), {"x": ROWS}, ["y"])

    assert answer["y"].shape == (4, 3)
    assert not (tmp_path / "cache" / "b").exists()


def test_without_a_gpu_it_is_not_opened_unless_the_cpu_is_allowed(tmp_path: Path) -> None:
    with raises(DeviceMissing, "no CUDA here", "ONNXLIFT_ALLOW_CPU=true"):
        opened(tmp_path, WorkerSettings())


def test_a_corrupt_object_fails_its_model_with_the_reason_and_leaves_the_others_alone(
    assets: Any, tmp_path: Path
) -> None:
    manifests = [
        builders.write_artifact(tmp_path / "built", builders.linear(), name=name)
        for name in ("bad", "good")
    ]
    upload(assets, tmp_path / "built", *manifests)
    size_bytes = manifests[0].size_bytes
    bad = next(
        item["Key"]
        for item in assets.list_objects_v2(Bucket=BUCKET)["Contents"]
        if "bad" in item["Key"]
    )
    assets.put_object(Bucket=BUCKET, Key=bad, Body=b"\0" * size_bytes)
    models = opened(tmp_path / "cache", WorkerSettings(weights=URL, allow_cpu=True))

    with raises(ArtifactCorrupt, bad, "SHA-256"):
        models.run(manifests[0], {"x": ROWS}, ["y"])

    assert models.run(manifests[1], {"x": ROWS}, ["y"])["y"].shape == (4, 3)


def test_a_corrupt_file_is_fetched_once_more(tmp_path: Path) -> None:
    source = Source(ArtifactCorrupt("damaged on its way"))
    models = models_of(Memory(9), source, named("m"))

    answer = models.run(models.catalog.find("m"), {"x": ROWS}, ["y"])

    assert (answer["y"] == 2).all()
    assert source.fetched == ["m", "m"]


def test_a_damaged_file_in_the_cache_is_replaced(assets: Any, tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path / "built", builders.linear())
    upload(assets, tmp_path / "built", manifest)
    damaged = tmp_path / "cache" / "tiny" / "1" / "model.onnx"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"\0" * manifest.size_bytes)
    models = opened(tmp_path / "cache", WorkerSettings(weights=URL, allow_cpu=True))

    answer = models.run(manifest, {"x": ROWS}, ["y"])

    assert answer["y"].shape == (4, 3)


def test_a_damaged_file_below_the_folder_is_corrupt(tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path, builders.linear())
    (tmp_path / "tiny" / "1" / "model.onnx").write_bytes(b"\0" * manifest.size_bytes)
    models = opened(tmp_path, WorkerSettings(allow_cpu=True))

    with raises(ArtifactCorrupt, "model.onnx", "compressed"):
        models.run(manifest, {"x": ROWS}, ["y"])


def test_a_broken_model_is_not_fetched_again_for_a_while() -> None:
    now = [0.0]
    source = Source(*[ArtifactMissing("s3://assets/key does not exist")] * 2)
    models = models_of(Memory(9), source, named("m"), clock=lambda: now[0])
    manifest = models.catalog.find("m")

    for _ in range(3):
        with raises(ArtifactMissing, "s3://assets/key"):
            models.run(manifest, {"x": ROWS}, ["y"])
    assert source.fetched == ["m"]
    now[0] = BROKEN_FOR_S
    with pytest.raises(ArtifactMissing):
        models.prefetch(manifest)

    assert source.fetched == ["m", "m"]


def test_a_store_that_is_away_makes_the_model_unavailable_for_a_short_while() -> None:
    now = [0.0]
    source = Source(StoreUnavailable("S3 answered 503"))
    models = models_of(Memory(9), source, named("m"), clock=lambda: now[0])
    manifest = models.catalog.find("m")

    for _ in range(2):
        with raises(ModelUnavailable, "'m'", "version 1", "S3 answered 503"):
            models.run(manifest, {"x": ROWS}, ["y"])
    now[0] = AWAY_FOR_S

    assert len(models.run(manifest, {"x": ROWS}, ["y"])["y"]) == 4
    assert source.fetched == ["m", "m"]


def test_a_callers_mistake_stays_one(tmp_path: Path) -> None:
    builders.write_artifact(tmp_path, builders.failing())
    models = opened(tmp_path, WorkerSettings(allow_cpu=True))

    with raises(InputMismatch, "'tiny'"):
        models.run(models.catalog.find("tiny"), {"x": np.zeros((1, 5), np.float32)}, ["y"])


def test_many_threads_share_models_that_do_not_fit_together(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    for seed, name in enumerate(names):
        builders.write_artifact(tmp_path, builders.linear(seed=seed), name=name)
    models = opened(tmp_path, WorkerSettings(allow_cpu=True, device_memory_mb=100))
    expected = {
        name: models.run(models.catalog.find(name), {"x": ROWS}, ["y"])["y"] for name in names
    }

    def ask(number: int) -> bool:
        name = names[number % 3]
        answer = models.run(models.catalog.find(name), {"x": ROWS}, ["y"])["y"]
        return bool((answer == expected[name]).all())

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(60), timeout=60))
