"""``python -m tests.integration.poisoned``: a worker whose process some jobs end, in their
inference or before it.

``POISON_AT`` in the environment says where: ``run``, ``fetch``, or nowhere.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from benchmarks.gpu_worker import process
from onnxlift_runtime.aws.objects import ObjectStore
from onnxlift_runtime.jobs.job import Payload
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.tensors.arrays import Array

POISON: Final = np.float32(666)
_run, _fetch = process.Slow.run, ObjectStore.fetch


def run_or_die(
    engine: process.Slow, manifest: Manifest, feeds: Mapping[str, Array], outputs: Sequence[str]
) -> dict[str, Array]:
    """End the process as a fault in a kernel would."""
    if any(POISON in array for array in feeds.values()):
        os.abort()
    return _run(engine, manifest, feeds, outputs)


def fetch_or_die(store: ObjectStore, payload: Payload, max_bytes: int) -> bytes:
    """End the process as a fault in whatever reads the request would."""
    body = _fetch(store, payload, max_bytes)
    if POISON.tobytes() in body:
        os.abort()
    return body


if __name__ == "__main__":
    if os.environ["POISON_AT"] == "run":
        process.Slow.run = run_or_die  # type: ignore[method-assign, assignment]
    if os.environ["POISON_AT"] == "fetch":
        ObjectStore.fetch = fetch_or_die  # type: ignore[method-assign, assignment]
    process.main()
