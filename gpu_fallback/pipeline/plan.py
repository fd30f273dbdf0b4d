"""How a worker runs jobs: batch sizes, times, threads."""

from dataclasses import dataclass
from typing import Final

# Fetching and opening the largest model may take so long.
OPENING_S: Final = 1800.0
# Fetching the largest payload may take so long while the bucket hardly answers.
STORE_STEP_S: Final = 600.0
STOPPING: Final = "the worker stops"
WAITED: Final = "the worker has a job that must run alone"


@dataclass(frozen=True, slots=True)
class Plan:
    """How jobs are run: batches of up to ``max_rows`` that wait up to ``max_wait_ms`` to fill, on
    so many devices.

    ``lease_ms`` is what a claim lasts, ``timeout_s`` when an inference counts as hung; ``threads``
    fetch, as many publish.
    """

    max_rows: int
    max_wait_ms: float
    lease_ms: int
    timeout_s: float
    threads: int = 8
    devices: int = 1
