"""What a thousand requests cost on AWS Lambda."""

from typing import Final

# https://aws.amazon.com/lambda/pricing/, us-east-1, first tier, read 2026-11-21.
USD_PER_GB_SECOND: Final = {"x86_64": 0.0000166667, "arm64": 0.0000133334}
USD_PER_REQUEST: Final = 0.20 / 1_000_000
_MB_PER_GB: Final = 1024


def usd_per_1000(latency_ms: float, memory_mb: int, architecture: str) -> float:
    """Price in US dollars of 1,000 requests that take ``latency_ms`` each in a function of ``memory_mb``."""
    gb_seconds = memory_mb / _MB_PER_GB * latency_ms / 1000
    return 1000 * (gb_seconds * USD_PER_GB_SECOND[architecture] + USD_PER_REQUEST)
