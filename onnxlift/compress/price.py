"""What a thousand requests cost on AWS Lambda."""

from onnxlift.cost.estimate import request_usd
from onnxlift.cost.prices import read_prices


def usd_per_1000(latency_ms: float, memory_mb: int, architecture: str) -> float:
    """Price in US dollars of 1,000 requests that take ``latency_ms`` each in a function of ``memory_mb``."""
    return 1000 * request_usd(read_prices(), memory_mb, latency_ms, architecture)
