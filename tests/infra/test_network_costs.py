"""What a plan says of the GPU network against what is built."""

from infra.constructs.gpu import capacity, network
from onnxlift.cost import estimate


def test_a_plan_counts_the_endpoints_and_zones_that_are_built() -> None:
    assert len(network.ENDPOINTS) == estimate.ENDPOINTS
    assert network.ZONES == estimate.ZONES


def test_a_plan_counts_how_long_machines_are_kept() -> None:
    assert estimate.LINGER_MINUTES["managed"] * 60 == capacity.SCALE_IN_AFTER_S
