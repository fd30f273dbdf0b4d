"""What a plan says of the GPU network against what is built."""

from infra.constructs import network
from onnxlift.cost import estimate


def test_a_plan_counts_the_endpoints_and_zones_that_are_built() -> None:
    assert len(network.ENDPOINTS) == estimate.ENDPOINTS
    assert network.ZONES == estimate.ZONES
