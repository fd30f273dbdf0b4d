"""Numbers for people: short, with their unit, never rounded into the wrong one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift.units import milliseconds, ratio, size, three_digits


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (1_000, "1.00 KB"),
        (63_000, "63.0 KB"),
        (999_600, "1.00 MB"),
        (23_200_000, "23.2 MB"),
        (1_140_850_000, "1.14 GB"),
    ],
)
def test_a_size_is_said_with_three_digits(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00012, "0.000120"),
        (0.0000012, "1.2e-06"),
        (999.6, "1,000"),
        (123_456, "123,456"),
        (float("inf"), "inf"),
    ],
)
def test_a_number_has_three_digits_and_an_exponent_only_where_it_is_long(
    value: float, text: str
) -> None:
    assert three_digits(value) == text


def test_a_duration_changes_its_unit_at_a_second() -> None:
    assert [milliseconds(value) for value in (0.0174, 24.4, 1_300)] == [
        "0.0174 ms",
        "24.4 ms",
        "1.30 s",
    ]


def test_a_ratio_to_nothing_is_a_dash() -> None:
    assert (ratio(1, 4), ratio(1, 0)) == ("× 0.25", "–")


@given(st.floats(1, 1e15))
def test_a_size_is_right_to_half_a_percent(size_bytes: float) -> None:
    amount, unit = size(size_bytes).split()

    told = float(amount.replace(",", "")) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit]

    assert told == pytest.approx(size_bytes, rel=0.0051, abs=0.51)
