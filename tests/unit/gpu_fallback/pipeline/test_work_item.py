"""Which feeds may run together."""

from dataclasses import replace

import numpy as np

from gpu_fallback.pipeline.work_item import group
from onnxlift_runtime.dataplane.batching import Feed
from onnxlift_runtime.jobs.job import MAX_ATTEMPTS, Job, Payload
from tests.support.builders import manifest, spec

FEED = Feed(
    manifest((spec("x", "FP32", (-1, 2)),)), {"x": np.ones((1, 2), dtype=np.float32)}, ("y",)
)
FRESH = Job(
    "a", "me", "tiny", "1", Payload.of(b"", {}), 0, 1, attempt=1, attempts_left=MAX_ATTEMPTS - 1
)


def test_fresh_jobs_run_together() -> None:
    assert group(FRESH, 0, FEED, 8) == group(replace(FRESH, id="b"), 3, FEED, 8)


def test_a_job_that_came_to_nothing_before_runs_with_its_own_feeds_alone() -> None:
    suspect = replace(FRESH, attempts_left=MAX_ATTEMPTS - 2)

    assert group(suspect, 0, FEED, 8) == group(suspect, 1, FEED, 8)
    assert group(suspect, 0, FEED, 8) not in {
        group(FRESH, 0, FEED, 8),
        group(replace(suspect, id="b"), 0, FEED, 8),
    }


def test_feeds_of_a_model_that_takes_one_at_a_time_run_alone() -> None:
    assert group(FRESH, 0, FEED, 1) != group(FRESH, 1, FEED, 1)
