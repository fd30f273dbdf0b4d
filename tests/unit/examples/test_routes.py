"""The demo's second part: its model, and what it must refuse."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from examples.digits import routes
from examples.digits.routes import Routed

GOOD = [
    Routed("enlarge, 1 image", 200, 'lambda; reason="1 row"', True),
    Routed("enlarge-gpu, 1 image", 200, 'gpu; reason="alone"', True),
    Routed("enlarge, 256 images", 202, 'lambda; reason="too large"', True),
]


def test_the_model_enlarges_every_point() -> None:
    session = onnxruntime.InferenceSession(
        routes.enlarger().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)

    (large,) = session.run(None, {"pixels": pixels})

    assert np.array_equal(large, pixels.repeat(12, axis=2).repeat(12, axis=3))


def test_the_promised_routes_pass() -> None:
    assert routes.problems(GOOD) == []


@pytest.mark.parametrize(
    ("index", "change", "why"),
    [
        (0, {"right": False}, "not the enlarged image"),
        (1, {"route": 'lambda; reason="no"'}, "expected 200 from gpu"),
        (2, {"status": 200}, "expected 202 from lambda"),
    ],
)
def test_another_answer_or_route_is_told(index: int, change: dict[str, object], why: str) -> None:
    found = list(GOOD)
    found[index] = replace(found[index], **change)  # type: ignore[arg-type]

    (problem,) = routes.problems(found)

    assert why in problem
