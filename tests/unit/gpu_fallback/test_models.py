"""A worker's models on real sessions: fetched, opened, dropped, and what happens where one of these fails."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_fallback import models as module
from gpu_fallback.devices import Hardware
from gpu_fallback.models import AWAY_FOR_S, BROKEN_FOR_S, Models, cost_mb
from onnxlift_runtime.batching import Runner
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    DeviceMissing,
    InputMismatch,
    MemoryExhausted,
    ModelTooLarge,
    ModelUnavailable,
    StoreUnavailable,
)
from onnxlift_runtime.manifest import FileEntry, Latency, Manifest, Measurements
from onnxlift_runtime.session import CPU, Device, Session
from onnxlift_runtime.settings import Limits, Settings, WorkerSettings
from onnxlift_runtime.tensors import Array
from tests import builders
from tests.unit.gpu_fallback.buckets import BUCKET, URL, assets, upload

__all__ = ["assets"]

NO_GPU = Hardware("no CUDA here")
ROWS = np.ones((4, 4), np.float32)


class Memory:
    """A device with room for so many rows at once; 0 rows of room fail to open. It remembers what it ran."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.ran: list[int] = []

    def open(self, _folder: Path, _manifest: Manifest, _device: Device) -> Any:
        if not self.rows:
            raise ModelTooLarge("does not fit the memory")
        return self

    def run(self, feeds: Mapping[str, Array], _outputs: Sequence[str]) -> dict[str, Array]:
        self.ran.append(len(feeds["x"]))
        if len(feeds["x"]) > self.rows:
            raise MemoryExhausted("Failed to allocate memory")
        return {"y": feeds["x"] * 2}


class Source:
    """Where models' folders come from: it fails as often as it is told to, and counts."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.fetched: list[str] = []

    def fetch(self, manifest: Manifest) -> Path:
        self.fetched.append(manifest.name)
        if self.failures:
            raise self.failures.pop(0)
        return Path("unused")


def models_of(memory: Memory, source: Source, *manifests: Manifest, **changes: Any) -> Models:
    return Models(Catalog.of(manifests), CPU, source.fetch, memory.open, **changes)


def named(name: str, peak_memory_mb: float = 60.0, **changes: Any) -> Manifest:
    measured = Measurements(5.0, peak_memory_mb, (Latency(1, 0.1, 0.2),), "test", 1, "1.31.1")
    return builders.manifest(name=name, measurements=measured, **changes)


def opened(root: Path, told: WorkerSettings) -> Models:
    return Models.open(Settings(models_dir=root, threads=1), told, NO_GPU)


def messages(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]


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
    manifests = [builders.write_artifact(tmp_path / "built", builders.linear(), name=name) for name in ("a", "b")]
    upload(assets, tmp_path / "built", *manifests)
    told = WorkerSettings(weights=URL, allow_cpu=True)
    models = opened(tmp_path / "cache", told)

    answer = models.run(models.catalog.find("a"), {"x": ROWS}, ["y"])

    assert answer["y"].shape == (4, 3)
    assert not (tmp_path / "cache" / "b").exists()


def test_without_a_gpu_it_is_not_opened_unless_the_cpu_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(DeviceMissing, match=r"no CUDA here.*ONNXLIFT_ALLOW_CPU=true"):
        opened(tmp_path, WorkerSettings())


def test_a_corrupt_object_fails_its_model_with_the_reason_and_leaves_the_others_alone(
    assets: Any, tmp_path: Path
) -> None:
    manifests = [builders.write_artifact(tmp_path / "built", builders.linear(), name=name) for name in ("bad", "good")]
    upload(assets, tmp_path / "built", *manifests)
    size_bytes = manifests[0].size_bytes
    bad = next(item["Key"] for item in assets.list_objects_v2(Bucket=BUCKET)["Contents"] if "bad" in item["Key"])
    assets.put_object(Bucket=BUCKET, Key=bad, Body=b"\0" * size_bytes)
    models = opened(tmp_path / "cache", WorkerSettings(weights=URL, allow_cpu=True))

    with pytest.raises(ArtifactCorrupt, match=r"has SHA-256 .*, its manifest says"):
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

    with pytest.raises(ArtifactCorrupt, match="is not the file that was compressed"):
        models.run(manifest, {"x": ROWS}, ["y"])


def test_a_broken_model_is_not_fetched_again_for_a_while() -> None:
    now = [0.0]
    source = Source(*[ArtifactMissing("s3://assets/key does not exist")] * 2)
    models = models_of(Memory(9), source, named("m"), clock=lambda: now[0])
    manifest = models.catalog.find("m")

    for _ in range(3):
        with pytest.raises(ArtifactMissing, match="does not exist"):
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
        with pytest.raises(ModelUnavailable, match="'m' version 1 cannot be fetched: S3 answered 503"):
            models.run(manifest, {"x": ROWS}, ["y"])
    now[0] = AWAY_FOR_S

    assert len(models.run(manifest, {"x": ROWS}, ["y"])["y"]) == 4
    assert source.fetched == ["m", "m"]


def test_weights_above_the_budget_are_refused_before_they_are_fetched() -> None:
    source = Source()
    files = (FileEntry("model.onnx", "0" * 64, 3 * 1024**3),)
    models = models_of(Memory(9), source, named("m", files=files), budget_mb=2_000)

    with pytest.raises(
        ModelTooLarge, match=r"3072 MB of weights, .* may take 2000 MB of the device; raise ONNXLIFT_DE"
    ):
        models.run(models.catalog.find("m"), {"x": ROWS}, ["y"])

    assert source.fetched == []


def test_a_model_that_fits_not_even_alone_is_told_once_the_others_are_gone() -> None:
    memory = Memory(9)
    models = models_of(memory, Source(), named("small"), named("large"))
    models.prefetch(models.catalog.find("small"))
    memory.rows = 0

    with pytest.raises(ModelTooLarge, match="does not fit the memory"):
        models.prefetch(models.catalog.find("large"))

    assert models._loaded.keys == ()


def test_an_estimate_above_the_budget_is_tried_all_the_same() -> None:
    models = models_of(Memory(9), Source(), named("m", peak_memory_mb=5_000.0), budget_mb=2_000)

    assert len(models.run(models.catalog.find("m"), {"x": ROWS}, ["y"])["y"]) == 4


def test_the_least_recently_used_is_dropped_for_room_and_opened_again(capsys: pytest.CaptureFixture[str]) -> None:
    source = Source()
    models = models_of(Memory(9), source, *(named(name) for name in "abc"), budget_mb=130)

    for name in "abacab":
        models.run(models.catalog.find(name), {"x": ROWS}, ["y"])

    assert source.fetched == ["a", "b", "c", "b"]
    assert messages(capsys).count("model unloaded") == 2


def test_rows_that_do_not_fit_run_in_portions_from_then_on() -> None:
    memory = Memory(2)
    models = models_of(memory, Source(), named("m"))
    manifest = models.catalog.find("m")

    first = models.run(manifest, {"x": ROWS}, ["y"])
    second = models.run(manifest, {"x": ROWS}, ["y"])

    assert (first["y"] == 2).all()
    assert second["y"].shape == (4, 4)
    assert memory.ran == [4, 2, 2, 2, 2]


def test_memory_that_idle_models_hold_is_tried_before_portions() -> None:
    memory = Memory(9)
    models = models_of(memory, Source(), named("idle"), named("m"))
    models.prefetch(models.catalog.find("idle"))
    models.prefetch(models.catalog.find("m"))
    memory.rows = 2

    models.run(models.catalog.find("m"), {"x": ROWS}, ["y"])

    assert memory.ran == [4, 4, 2, 2]
    assert models._loaded.keys == (("m", "1"),)


def test_one_row_too_many_fails_with_the_reason() -> None:
    memory = Memory(9)
    models = models_of(memory, Source(), named("m"))
    models.prefetch(models.catalog.find("m"))
    memory.rows = 0

    with pytest.raises(MemoryExhausted, match="Failed to allocate memory"):
        models.run(models.catalog.find("m"), {"x": ROWS}, ["y"])


def test_a_model_without_batches_is_never_cut() -> None:
    memory = Memory(2)
    models = models_of(memory, Source(), named("m", max_batch_size=0))

    with pytest.raises(MemoryExhausted):
        models.run(models.catalog.find("m"), {"x": ROWS}, ["y"])

    assert memory.ran == [4]


def test_a_callers_mistake_stays_one(tmp_path: Path) -> None:
    builders.write_artifact(tmp_path, builders.failing())
    models = opened(tmp_path, WorkerSettings(allow_cpu=True))

    with pytest.raises(InputMismatch, match="refuses this input"):
        models.run(models.catalog.find("tiny"), {"x": np.zeros((1, 5), np.float32)}, ["y"])


def test_many_threads_share_models_that_do_not_fit_together(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    for seed, name in enumerate(names):
        builders.write_artifact(tmp_path, builders.linear(seed=seed), name=name)
    models = opened(tmp_path, WorkerSettings(allow_cpu=True, device_memory_mb=100))
    expected = {name: models.run(models.catalog.find(name), {"x": ROWS}, ["y"])["y"] for name in names}

    def ask(number: int) -> bool:
        name = names[number % 3]
        answer = models.run(models.catalog.find(name), {"x": ROWS}, ["y"])["y"]
        return bool((answer == expected[name]).all())

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(60), timeout=60))


def test_the_cost_is_the_measured_peak_or_the_files_where_they_are_larger() -> None:
    large = (FileEntry("model.onnx", "0" * 64, 300 * module.MIB),)

    assert cost_mb(named("m", 60.0)) == 60.0
    assert cost_mb(named("m", 60.0, files=large)) == 300.0
