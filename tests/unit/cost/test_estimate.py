"""What a model costs: known values, and what must hold for any model and traffic."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift.config import Config
from onnxlift.cost.estimate import (
    HOURS,
    break_even_rps,
    estimate,
    gpu_hours,
    machine_hour,
    network_months,
    request_usd,
)
from onnxlift.cost.margin import margins
from onnxlift.cost.prices import OLD_AFTER_DAYS, read_prices
from onnxlift.hosting import Deployment
from onnxlift.placement import Placement, lambda_obstacle
from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.manifest import FileEntry, Latency, Manifest
from tests.support import builders
from tests.support.errors import raises

PRICES = read_prices()
ON_LAMBDA, ON_GPU = Placement("lambda", 1_769, "fits"), Placement("gpu", 0, "too large")


def config(**gpu: Any) -> Config:
    model = {"source": Path("x.onnx"), "quality": {"samples": Path("s.npz")}}
    return Config.model_validate({"service": "demo", "models": {"tiny": model}, "gpu": gpu})


def model(*latency: Latency, peak_mb: float = 60.0) -> Manifest:
    plain = builders.manifest()
    return replace(
        plain, measurements=replace(plain.measurements, latency=latency, peak_memory_mb=peak_mb)
    )


def test_a_request_costs_its_time_and_memory() -> None:
    cost = request_usd(PRICES, 1024, 1000, "x86_64")

    assert cost == pytest.approx(0.0000166667 + 0.20 / 1e6)
    assert request_usd(PRICES, 1024, 1000, "arm64") < cost


@pytest.mark.parametrize(
    ("memory_gb", "time_ms", "usd_per_1000", "rates"),
    [
        (2, 100, 0.0035, (41.3, 63.3, 79.1)),
        (2, 500, 0.017, (8.7, 13.3, 16.6)),
        (4, 500, 0.034, (4.4, 6.7, 8.3)),
        (8, 500, 0.067, (2.2, 3.3, 4.2)),
        (10, 2000, 0.334, (0.44, 0.67, 0.84)),
    ],
)
def test_the_break_even_of_known_machines_is_the_published_one(
    memory_gb: int, time_ms: float, usd_per_1000: float, rates: tuple[float, ...]
) -> None:
    cost = request_usd(PRICES, memory_gb * 1024, time_ms, "x86_64")

    hours = [
        PRICES.machine(name).on_demand.usd for name in ("g4dn.xlarge", "g6.xlarge", "g5.xlarge")
    ]
    assert cost * 1000 == pytest.approx(usd_per_1000, rel=0.03)
    assert [break_even_rps(hour, cost) for hour in hours] == pytest.approx(rates, rel=0.02)


def test_a_network_that_is_always_paid_for_moves_the_break_even_up() -> None:
    plain = break_even_rps(0.8, 1e-5)

    assert break_even_rps(0.8, 1e-5, fixed_hour_usd=0.8) == pytest.approx(2 * plain)


def test_networks_cost_what_their_parts_cost() -> None:
    found = network_months(PRICES, config())

    assert found["public"] == 0
    assert found["endpoints"] == pytest.approx(117, abs=1)
    assert found["nat"] == pytest.approx(33, abs=1)


def test_a_machine_costs_its_price_its_fee_and_its_address() -> None:
    managed = machine_hour(config(spot=False), PRICES)
    own = machine_hour(config(spot=True, capacity="group", network="nat"), PRICES)

    assert {managed[0], own[0]} == {"g6.xlarge"}
    assert (managed[1], own[1]) == pytest.approx((0.8048 * 1.12 + 0.005, 0.401))


def test_a_machine_without_a_price_is_named_with_those_that_have_one() -> None:
    with raises(ConfigInvalid, "'p5.48xlarge'", "g4dn.xlarge"):
        machine_hour(config(instance_types=("p5.48xlarge",)), PRICES)


def test_even_traffic_keeps_a_worker_up_and_bursts_let_it_sleep() -> None:
    even, daily = gpu_hours(10_000, 0.0, config())

    assert even == HOURS
    assert daily == pytest.approx(30 * (4 + 15 + 5) / 60)


def test_a_request_now_and_then_starts_a_worker_works_and_lets_the_machine_go_later() -> None:
    even, _ = gpu_hours(60, 120, config())

    assert even == pytest.approx(60 * (4 + 2 + 15 + 5) / 60)


def test_a_month_without_a_request_has_the_alarms_of_gpu_workers() -> None:
    idle = [
        estimate(model(Latency(1, 10, 12)), ON_GPU, config(spot=spot), PRICES, ()).idle
        for spot in (True, False)
    ]

    assert [found.model_usd for found in idle] == pytest.approx([1.80, 0.80], abs=0.01)


def test_the_profile_standard_adds_its_alarms_and_its_firewall() -> None:
    standard = config().model_copy(update={"deployment": Deployment(profile="standard")})

    plain, watched = (
        estimate(model(Latency(1, 10, 12)), ON_LAMBDA, told, PRICES, ()).idle
        for told in (config(), standard)
    )

    assert watched.model_usd - plain.model_usd == pytest.approx(0.60)
    assert (plain.service_usd, watched.service_usd) == pytest.approx((0.40, 0.40 + 1.50 + 7.00))


@given(st.integers(1, 10**9), st.integers(1, 10**6), st.floats(0, 60), st.integers(1, 1_440))
def test_more_requests_never_take_fewer_machine_hours(
    count: int, more: int, work_s: float, idle_minutes: int
) -> None:
    told = config(idle_minutes=idle_minutes)
    fewer, many = gpu_hours(count, work_s, told), gpu_hours(count + more, work_s, told)

    assert all(a <= b * (1 + 1e-9) for a, b in zip(fewer, many, strict=True))
    assert all(hours >= count * work_s / 3600 for hours in fewer)


def test_a_model_on_the_gpu_has_no_costs_on_lambda() -> None:
    found = estimate(model(Latency(1, 10, 12)), ON_GPU, config(), PRICES, (1_000,))

    assert found.traffic[0].lambda_usd is None
    assert found.break_even_rps is None


def test_a_month_on_lambda_is_the_sum_of_its_requests_in_whole_milliseconds() -> None:
    (level,) = estimate(
        model(Latency(1, 9.1, 12)), ON_LAMBDA, config(), PRICES, (1_000_000,)
    ).traffic

    gb_seconds = 1_769 / 1024 * 0.010 * 1_000_000
    assert level.lambda_usd == pytest.approx(gb_seconds * 0.0000166667 + 0.20 + 3.50)


@pytest.mark.parametrize("peak_mb", [60.0, 7_000.0, 9_000.0])
def test_a_broken_margin_is_an_obstacle_and_the_other_way_round(peak_mb: float) -> None:
    manifest = model(Latency(1, 10, 12), peak_mb=peak_mb)

    assert any(item.broken for item in margins(manifest)) == (lambda_obstacle(manifest) is not None)


def test_a_margin_is_the_part_of_the_limit_that_is_left() -> None:
    large = replace(model(Latency(1, 10, 5_075)), files=(FileEntry("m", "0" * 64, 4_670 * 2**20),))

    assert [round(item.left, 2) for item in margins(large)] == [0.97, 0.5, 0.75]


def test_prices_have_their_source_and_recalled_ones_are_told() -> None:
    assert all(price.source and price.unit and price.usd > 0 for price in PRICES._all())
    assert any("recalled" in told for told in PRICES.cautions(date(2026, 11, 21)))


def test_prices_older_than_half_a_year_are_told_and_younger_ones_are_not() -> None:
    newest = max(price.date for price in PRICES._all())

    old = PRICES.cautions(newest + timedelta(OLD_AFTER_DAYS + 1))
    young = PRICES.cautions(min(price.date for price in PRICES._all()) + timedelta(OLD_AFTER_DAYS))

    assert any(f"older than {OLD_AFTER_DAYS} days" in told for told in old)
    assert not any("older" in told for told in young)


def test_a_region_without_prices_is_refused() -> None:
    with raises(ConfigInvalid, "'mars-1'"):
        read_prices("mars-1")
