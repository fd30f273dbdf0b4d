"""Where a request goes: every limit from both of its sides, and what must hold for any request."""

import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.dataplane.routing import (
    GPU_ALONE,
    PREFERRED,
    Hosting,
    Load,
    Pace,
    Route,
    choose,
    choose_without_jobs,
)
from onnxlift_runtime.errors import ModelUnavailable, PayloadTooLarge
from onnxlift_runtime.jobs.preferences import Preference
from onnxlift_runtime.manifest import Latency, Manifest
from onnxlift_runtime.names import GPU, LAMBDA
from tests.support import builders
from tests.support.errors import raises

NOBODY = Preference()
BOTH = (LAMBDA, GPU)
LATENCIES = st.lists(
    st.builds(Latency, st.integers(1, 512), st.just(1.0), st.floats(0.001, 50_000)),
    min_size=1,
    max_size=4,
    unique_by=lambda item: item.batch_size,
)
TIERS = st.sampled_from([(LAMBDA,), (GPU,), BOTH])
LOADS = st.builds(Load, st.integers(1, 5_000), st.integers(0, 2**26), st.integers(0, 2**24))
PREFERENCES = st.builds(Preference, st.booleans(), st.integers(0, 25))


def model(*latency: Latency, **changes: Any) -> Manifest:
    """A model that takes 640 ms for each row unless it is told otherwise."""
    plain = builders.manifest(**changes)
    measured = latency or (Latency(1, 600, 640), Latency(8, 5_000, 5_120))
    return replace(plain, measurements=replace(plain.measurements, latency=measured))


def test_a_line_through_two_measures_meets_both() -> None:
    pace = Pace.of((Latency(1, 1, 30), Latency(8, 1, 100)))

    assert pace is not None
    assert (pace.time_ms(1), pace.time_ms(8)) == pytest.approx((30, 100))
    assert pace.time_ms(64) == pytest.approx(660)


def test_one_measure_is_taken_for_each_row() -> None:
    pace = Pace.of((Latency(8, 1, 80),))

    assert pace == Pace(0, 10)


def test_times_that_fall_with_the_batch_count_as_constant() -> None:
    pace = Pace.of((Latency(1, 1, 30), Latency(8, 1, 20)))

    assert pace == Pace(30, 0)


@given(LATENCIES, st.integers(1, 10_000), st.integers(1, 10_000))
def test_more_rows_never_take_less(latency: list[Latency], rows: int, more: int) -> None:
    pace = Pace.of(latency)

    assert pace is not None
    assert 0 <= pace.time_ms(rows) <= pace.time_ms(rows + more)


@given(LATENCIES, st.floats(0.001, 1e6))
def test_the_rows_within_a_time_fit_and_one_more_does_not(
    latency: list[Latency], time_ms: float
) -> None:
    pace = Pace.of(latency)
    assert pace is not None

    rows = pace.rows_within(time_ms)

    assert not rows or pace.time_ms(min(rows, 10**6)) <= time_ms * (1 + 1e-6)
    assert rows >= 2**31 or pace.time_ms(rows + 1) >= time_ms * (1 - 1e-6)


def test_a_small_request_is_answered_at_once_with_both_figures() -> None:
    route = choose(Load(2), model(), NOBODY, Hosting())

    assert route == Route(LAMBDA, True, "2 rows take about 1.3 s, the API waits 29 s")


def test_rows_that_take_longer_than_the_api_waits_become_a_job() -> None:
    route = choose(Load(64), model(), NOBODY, Hosting())

    assert route == Route(LAMBDA, False, "64 rows take about 41 s, the API waits 29 s")


def test_rows_that_would_just_fit_become_a_job_that_says_what_is_planned_with() -> None:
    route = choose(Load(40), model(), NOBODY, Hosting())

    assert (
        route.reason
        == "40 rows take about 26 s, the API waits 29 s, of which 20 s are planned with"
    )


def test_rows_that_take_longer_than_a_job_on_lambda_go_to_the_gpu() -> None:
    route = choose(Load(1_000), model(), NOBODY, Hosting(BOTH))

    assert route == Route(GPU, False, "1,000 rows take about 640 s, a job on Lambda has 300 s")


def test_rows_that_fit_nowhere_are_refused_with_how_many_do() -> None:
    with raises(PayloadTooLarge, "640 s", "300 s", "GPU", 328):
        choose(Load(1_000), model(), NOBODY, Hosting())


def test_a_service_without_jobs_refuses_what_the_api_would_not_wait_for() -> None:
    with raises(PayloadTooLarge, "41 s", "29 s", "no jobs", 31):
        choose(Load(64), model(), NOBODY, Hosting(jobs=False))


def test_memory_above_that_of_the_function_goes_to_the_gpu() -> None:
    load = Load(2, input_bytes=64 * 2**20, answer_bytes=2**20)

    route = choose(load, model(), NOBODY, Hosting(BOTH, memory_mb=128))

    assert route == Route(GPU, False, "2 rows need about 190 MB, Lambda has 128 MB")


def test_an_answer_too_large_for_a_response_becomes_a_job() -> None:
    route = choose(Load(2, answer_bytes=7_000_000), model(), NOBODY, Hosting())

    assert (
        route.reason == "the answer takes at least 7,000,000 bytes, one response carries 6,291,556"
    )
    assert (route.tier, route.at_once) == (LAMBDA, False)


def test_a_caller_who_waits_too_short_a_time_gets_a_job() -> None:
    route = choose(Load(16), model(), Preference(wait_s=5), Hosting())

    assert route == Route(LAMBDA, False, "16 rows take about 10 s, the caller waits 5 s")


def test_a_model_on_the_gpu_alone_is_never_answered_at_once() -> None:
    assert choose(Load(), model(), NOBODY, Hosting((GPU,))) == Route(GPU, False, GPU_ALONE)


def test_a_model_on_the_gpu_alone_cannot_be_asked_where_there_are_no_jobs() -> None:
    with raises(ModelUnavailable, "'tiny'", "no jobs"):
        choose(Load(), model(), NOBODY, Hosting((GPU,), jobs=False))


def test_a_model_without_batches_is_told_as_one_inference() -> None:
    route = choose(Load(), model(max_batch_size=0), NOBODY, Hosting())

    assert route.reason.startswith("one inference takes about 640 ms")


def test_a_model_that_was_not_measured_is_answered_at_once() -> None:
    plain = builders.manifest()
    unmeasured = replace(plain, measurements=replace(plain.measurements, latency=()))

    route = choose(Load(10**6), unmeasured, NOBODY, Hosting())

    assert route.at_once
    assert "not measured" in route.reason


def test_a_protocol_without_jobs_is_told_how_to_ask_for_one() -> None:
    with raises(PayloadTooLarge, 31, "POST /v2/models/tiny/infer"):
        choose_without_jobs(Load(64), model(), Hosting())


@given(LATENCIES, LOADS, PREFERENCES, TIERS, st.integers(1, 900), st.sampled_from([0, 512, 10_240]))
def test_any_request_gets_a_tier_that_there_is_and_a_reason_or_a_refusal(
    latency: list[Latency],
    load: Load,
    preference: Preference,
    tiers: tuple[str, ...],
    timeout_s: int,
    memory_mb: int,
) -> None:
    hosting = Hosting(tiers, job_timeout_s=timeout_s, memory_mb=memory_mb)
    route = None
    with suppress(PayloadTooLarge):
        route = choose(load, model(*latency), preference, hosting)
    if route is None:
        assert GPU not in tiers
        return

    assert route.tier in tiers
    assert not (route.at_once and preference.job)
    assert not (route.at_once and load.answer_bytes > hosting.limits.max_answer_bytes)
    assert route.reason in {PREFERRED, GPU_ALONE} or any(
        word in route.reason for word in ("about", "at least")
    )


@given(st.text(max_size=50))
def test_the_header_is_one_line_of_ascii_whatever_the_reason(reason: str) -> None:
    text = str(Route(LAMBDA, True, reason))

    assert text.isascii()
    assert re.fullmatch(r'lambda; reason="(?:[^"\\]|\\["\\])*"', text)
