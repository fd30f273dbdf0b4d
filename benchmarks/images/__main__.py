"""``python -m benchmarks.images``: how long the demo's image takes to its first answer, and to the
next ones.

Needs the image that ``make images`` builds. Each start is a new container with the memory and the
processor share that Lambda would give; what Lambda itself takes to fetch an image and to start a
machine is not in it.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Final

from infra.images.engine import find_engine
from onnxlift_runtime.http.message import Request
from tests.image.container import RunningFunction, running_function

ROOT: Final = Path(__file__).resolve().parents[2]
IMAGE: Final = "onnxlift-demo/digits:latest"
WARM_CALLS: Final = 40


def main() -> int:
    """Measure and print a line for each memory size."""
    parser = argparse.ArgumentParser(description="Cold and warm answers of the demo's image.")
    parser.add_argument(
        "--starts", type=int, default=5, help="containers for each size (default %(default)s)"
    )
    parser.add_argument(
        "--memory",
        type=int,
        nargs="+",
        default=[512, 1_769, 3_538],
        help="MB (default %(default)s)",
    )
    options = parser.parse_args()
    engine = find_engine(ROOT / ".onnxlift")
    print(
        "| memory | processors | first answer, median / worst | next ones, median / p95 "
        "|\n|---|---|---|---|"
    )
    for memory_mb in options.memory:
        first, later = [], []
        for _ in range(options.starts):
            with running_function(engine, IMAGE, memory_mb=memory_mb) as function:
                first.append(_answer_ms(function))
                later += [_answer_ms(function) for _ in range(WARM_CALLS)]
        p95 = statistics.quantiles(later, n=20)[-1]
        told = (
            f"{statistics.median(first):.0f} / {max(first):.0f} ms | "
            f"{statistics.median(later):.1f} / {p95:.1f} ms"
        )
        print(f"| {memory_mb} MB | {memory_mb / 1_769:.2f} | {told} |")
    return 0


def _answer_ms(function: RunningFunction) -> float:
    started = time.perf_counter()
    answer = function.invoke(_event())
    took_ms = (time.perf_counter() - started) * 1_000
    assert answer["statusCode"] == 200, answer
    return took_ms


def _event() -> dict[str, Any]:
    pixels = {"name": "pixels", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.5] * 64}
    body = json.dumps({"inputs": [pixels]}).encode()
    return Request(
        "POST", "/v2/models/digits/infer", {"content-type": "application/json"}, {}, body
    ).to_event()


if __name__ == "__main__":
    sys.exit(main())
