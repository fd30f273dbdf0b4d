"""The worker joins jobs on the axis of each tensor, and never those of a model without a batch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.jobs.job import Job, JobStatus, Payload
from onnxlift_runtime.jobservice.service import Submission
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors.arrays import Array
from tests.support import builders, signatures
from tests.support.runtime.serving import open_engine, tensor
from tests.support.signatures import numbers, recurrent_feed
from tests.unit.gpu_fallback.conftest import CALLER, MODEL, Bench, Make

TYPES = {"float32": "FP32", "int64": "INT64"}


class Counted:
    """An engine that counts its inferences."""

    def __init__(self, root: Path, model: onnx.ModelProto, axes: Mapping[str, int]) -> None:
        builders.write_artifact(root, model, batch_axes=axes, max_batch_size=8 if axes else 0)
        self.engine: Engine = open_engine(root)
        self.runs = 0

    @property
    def catalog(self) -> Catalog:
        return self.engine.catalog

    @property
    def limits(self) -> Limits:
        return self.engine.limits

    def prefetch(self, manifest: Manifest) -> None:
        self.engine.prefetch(manifest)

    def run(
        self, manifest: Manifest, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> dict[str, Array]:
        self.runs += 1
        return self.engine.run(manifest, feeds, outputs)

    def alone(self, feed: Mapping[str, Array], name: str) -> Array:
        return self.engine.run(self.catalog.find(MODEL), feed, [name])[name]


def submit(bench: Bench, feed: Mapping[str, Any], output: str) -> Job:
    inputs = [
        tensor(name, TYPES[array.dtype.name], list(array.shape), array.ravel().tolist())
        for name, array in feed.items()
    ]
    body = json.dumps({"inputs": inputs, "outputs": [{"name": output}]}).encode()
    return bench.memory.service.submit(
        Submission(CALLER, MODEL, "1", Payload.of(body, {}), tier="gpu")
    )


def answer(job: Job) -> Array:
    assert job.result is not None
    assert job.result.body is not None
    item = json.loads(job.result.body)["outputs"][0]
    return np.array(item["data"], np.float32).reshape(item["shape"])


@pytest.mark.parametrize(("model", "axes", "output", "feeds", "joined"), [
    (signatures.recurrent(), {"x": 0, "state": 1, "score": 0, "next": 1}, "next",
     [recurrent_feed(1 + seed % 2, seed) for seed in range(4)], True),
    (signatures.with_total(), {"x": 0, "double": 0}, "total",
     [{"x": numbers((2, 3), seed)} for seed in range(4)], False),
    (signatures.selection(), {}, "kept", [{"boxes": numbers((5, 6), s)} for s in range(4)], False),
    (signatures.picture(), {}, "grey", [{"image": numbers((3, 2, 2), s)} for s in range(4)], False),
])  # fmt: skip
def test_each_job_gets_what_it_would_get_alone(
    make: Make, tmp_path: Path, model: onnx.ModelProto, axes: Mapping[str, int], output: str,
    feeds: Sequence[Mapping[str, Any]], joined: bool,
) -> None:  # fmt: skip
    counted = Counted(tmp_path / "models", model, axes)
    bench = make(counted, max_wait_ms=300)
    made = [submit(bench, feed, output) for feed in feeds]

    bench.start()

    ended = bench.await_status(JobStatus.SUCCEEDED, *made)
    for job, feed in zip(ended, feeds, strict=True):
        np.testing.assert_allclose(answer(job), counted.alone(feed, output), rtol=1e-5, atol=1e-6)
    assert counted.runs < len(feeds) if joined else counted.runs == len(feeds)
