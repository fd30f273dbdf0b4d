"""Several models within the memory of one device, and batches that do not fit it."""

import pytest

from gpu_fallback.models.loading import cost_mb
from onnxlift_runtime.errors import (
    MemoryExhausted,
    ModelTooLarge,
)
from onnxlift_runtime.manifest import FileEntry
from onnxlift_runtime.settings import MIB
from tests.support.errors import raises
from tests.support.gpu.fakes import ROWS, Memory, Source, messages, models_of, named


def test_weights_above_the_budget_are_refused_before_they_are_fetched() -> None:
    source = Source()
    files = (FileEntry("model.onnx", "0" * 64, 3 * 1024**3),)
    models = models_of(Memory(9), source, named("m", files=files), budget_mb=2_000)

    with raises(ModelTooLarge, 3072, 2000, "ONNXLIFT_DEVICE_MEMORY_MB"):
        models.run(models.catalog.find("m"), {"x": ROWS}, ["y"])

    assert source.fetched == []


def test_a_model_that_fits_not_even_alone_is_told_once_the_others_are_gone() -> None:
    memory = Memory(9)
    models = models_of(memory, Source(), named("small"), named("large"))
    models.prefetch(models.catalog.find("small"))
    memory.rows = 0

    with raises(ModelTooLarge, "memory"):
        models.prefetch(models.catalog.find("large"))

    assert models._loaded.keys == ()


def test_an_estimate_above_the_budget_is_tried_all_the_same() -> None:
    models = models_of(Memory(9), Source(), named("m", peak_memory_mb=5_000.0), budget_mb=2_000)

    assert len(models.run(models.catalog.find("m"), {"x": ROWS}, ["y"])["y"]) == 4


def test_the_least_recently_used_is_dropped_for_room_and_opened_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
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

    with raises(MemoryExhausted, "Failed to allocate memory"):
        models.run(models.catalog.find("m"), {"x": ROWS}, ["y"])


def test_a_model_without_batches_is_never_cut() -> None:
    memory = Memory(2)
    models = models_of(memory, Source(), named("m", max_batch_size=0))

    with pytest.raises(MemoryExhausted):
        models.run(models.catalog.find("m"), {"x": ROWS}, ["y"])

    assert memory.ran == [4]


def test_the_cost_is_the_measured_peak_or_the_files_where_they_are_larger() -> None:
    large = (FileEntry("model.onnx", "0" * 64, 300 * MIB),)

    assert cost_mb(named("m", 60.0)) == 60.0
    assert cost_mb(named("m", 60.0, files=large)) == 300.0
