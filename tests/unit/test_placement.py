"""Placement: a pure decision that names the limit it rests on."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift.hosting import Placement as Wish
from onnxlift.placement import (
    LAMBDA_MAX_MEMORY_MB,
    MEMORY_PER_VCPU_MB,
    MEMORY_STEP_MB,
    needed_memory_mb,
    place,
    require_verified,
    tell_tiers,
    together,
)
from onnxlift_runtime.errors import PlacementImpossible
from onnxlift_runtime.manifest import FileEntry, Latency, Manifest
from tests.support import builders
from tests.support.errors import raises


def _manifest(peak_mb: float = 60.0, p95_ms: float = 5.0, size_mb: int = 1) -> Manifest:
    manifest = builders.manifest(files=(FileEntry("model.onnx", "", size_mb * 2**20),))
    latency = (Latency(8, p95_ms * 8, p95_ms * 8), Latency(1, p95_ms / 2, p95_ms))
    return replace(
        manifest,
        measurements=replace(manifest.measurements, peak_memory_mb=peak_mb, latency=latency),
    )


def test_a_small_model_runs_on_lambda_with_one_whole_vcpu() -> None:
    placement = place(_manifest())

    assert (placement.tier, placement.memory_mb) == ("lambda", MEMORY_PER_VCPU_MB)
    assert (
        str(placement)
        == "lambda with 1,769 MB: peak 60 MB, p95 5.00 ms; memory gives one whole vCPU"
    )


def test_a_larger_model_gets_its_peak_with_headroom() -> None:
    placement = place(_manifest(peak_mb=3_000))

    assert placement.memory_mb == 4_096
    assert "1.3 × the measured peak" in placement.reason


@pytest.mark.parametrize(
    ("manifest", "limit"),
    [
        (_manifest(peak_mb=9_000), "needs 11,776 MB of memory, Lambda gives at most 10,240"),
        (_manifest(size_mb=10_000), "its image is 10,450 MB, Lambda takes at most 10,240"),
        (_manifest(p95_ms=25_000), "one inference takes 25.0 s, the API waits 29 s"),
    ],
)
def test_a_model_beyond_a_limit_goes_to_the_gpu_and_names_it(
    manifest: Manifest, limit: str
) -> None:
    placement = place(manifest)

    assert (placement.tier, placement.memory_mb, placement.reason) == ("gpu", 0, limit)
    assert str(placement) == f"gpu: {limit}"


def test_latency_counts_at_the_smallest_batch() -> None:
    assert place(_manifest(p95_ms=3_000)).tier == "lambda"  # 24 s for a batch of eight


def test_a_wish_for_the_gpu_is_granted() -> None:
    assert place(_manifest(), Wish(tier="gpu")).tier == "gpu"


def test_a_wish_for_lambda_is_refused_with_the_limit_it_breaks() -> None:
    with raises(PlacementImpossible, "11,776"):
        place(_manifest(peak_mb=9_000), Wish(tier="lambda"))


def test_a_wish_for_memory_is_granted_above_the_need() -> None:
    placement = place(_manifest(), Wish(memory_mb=512))

    assert (placement.memory_mb, placement.reason) == (512, "the configuration sets the memory")


def test_a_wish_for_too_little_memory_is_refused_with_both_figures() -> None:
    with raises(PlacementImpossible, "1,536", 512):
        place(_manifest(peak_mb=1_000), Wish(memory_mb=512))


@given(
    st.floats(0.1, 40_000, allow_nan=False),
    st.floats(0.001, 60_000, allow_nan=False),
    st.integers(0, 20_000),
)
def test_any_lambda_placement_holds_the_model_within_lambda_s_limits(
    peak_mb: float, p95_ms: float, size_mb: int
) -> None:
    manifest = _manifest(peak_mb, p95_ms, size_mb)

    placement = place(manifest)

    assert placement.reason
    assert (placement.memory_mb == 0) == (placement.tier == "gpu")
    if placement.tier == "lambda":
        assert peak_mb < placement.memory_mb <= LAMBDA_MAX_MEMORY_MB


@given(st.floats(0.1, 40_000, allow_nan=False))
def test_needed_memory_is_the_next_step_above_the_peak_with_headroom(peak_mb: float) -> None:
    needed_mb = needed_memory_mb(_manifest(peak_mb))

    assert needed_mb % MEMORY_STEP_MB == 0
    assert 0 <= needed_mb - peak_mb * 1.3 < MEMORY_STEP_MB + 1e-6


def test_versions_are_placed_together_by_their_sum_and_the_slowest() -> None:
    versions = [_manifest(peak_mb=5_000, p95_ms=9), _manifest(peak_mb=4_000, p95_ms=3)]

    combined = together(versions)

    assert combined.measurements.peak_memory_mb == 9_000
    assert combined.measurements.latency == versions[0].measurements.latency
    assert len(combined.files) == 2


def test_tiers_tell_the_fallback_of_a_model_on_lambda_alone() -> None:
    placements = {
        "small": place(_manifest(), Wish(fallback=True)),
        "plain": place(_manifest()),
        "large": place(_manifest(peak_mb=9_000), Wish(fallback=True)),
    }

    assert tell_tiers(placements) == "small=lambda+gpu,plain=lambda,large=gpu"


BLIND: dict[str, Any] = {"not_verified_on": {"arm64-neoverse-n1": "no qemu"}}


@pytest.mark.parametrize(
    ("changes", "tier", "allowed", "refused"),
    [
        (BLIND, "gpu", False, False),
        (BLIND, "lambda", True, False),
        (BLIND, "lambda", False, True),
        ({}, "lambda", False, False),
        ({**BLIND, "verified_on": {"x86_64-avx2": 1.0}}, "lambda", False, False),
    ],
)
def test_what_was_verified_nowhere_is_refused_with_the_way_out(
    changes: dict[str, Any], tier: str, allowed: bool, refused: bool
) -> None:
    found = ""
    try:
        require_verified(builders.manifest(**changes), tier, allowed=allowed)
    except PlacementImpossible as error:
        found = str(error)

    assert (found != "") == refused
    assert not refused or ("arm64-neoverse-n1: no qemu" in found and "allow_unverified" in found)
