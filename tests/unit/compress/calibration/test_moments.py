"""Second moments: of all rows, found once, whoever asks and however many at a time."""

from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import numpy as np
import pytest

from onnxlift.compress.calibration import moments
from onnxlift.compress.calibration.moments import Moments, second_moments
from onnxlift.compress.quantization.rounding import compensation
from onnxlift_runtime.errors import SamplesInvalid
from tests.support import builders
from tests.support.compress.transformer import samples, transformer
from tests.support.errors import raises


def test_second_moments_are_the_products_of_all_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(70, 16)).astype(np.float32)

    plain = second_moments(builders.mlp(), ["x"], {"x": rows})["x"]
    noisy = second_moments(builders.mlp(), ["x"], {"x": rows}, int8_noise=True)["x"]

    np.testing.assert_allclose(plain, rows.T.astype(np.float64) @ rows, rtol=1e-6, atol=1e-5)
    added = noisy - plain
    steps = [(part.max() - part.min()) / 255 for part in (rows[:32], rows[32:64], rows[64:])]
    expected = sum(
        len(part) * step**2 / 12
        for part, step in zip((rows[:32], rows[32:64], rows[64:]), steps, strict=True)
    )
    np.testing.assert_allclose(added, expected * np.eye(16), atol=1e-9)


def test_moments_and_their_compensation_are_found_once_for_many_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Mock(wraps=second_moments)
    found = second_moments(transformer(), ["start", "context"], samples(), int8_noise=True)
    monkeypatch.setattr(moments, "second_moments", asked)
    known = Moments(transformer(), ["start", "context"], samples(), int8_noise=True)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(known.of, ["start", "context"] * 8))

    assert asked.call_count == 1
    for value, (moment, factor) in zip(["start", "context"] * 8, answers, strict=True):
        np.testing.assert_array_equal(moment, found[value])
        np.testing.assert_array_equal(factor, compensation(found[value]))


def test_nothing_is_looked_at_before_somebody_asks() -> None:
    known = Moments(transformer(), ["start"], {}, int8_noise=False)

    with raises(SamplesInvalid, "'input_ids'"):
        known.of("start")
