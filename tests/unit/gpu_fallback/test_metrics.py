"""What the worker measures, as CloudWatch reads it."""

import json
import time
from typing import Any

import numpy as np
import pytest

from gpu_fallback.metrics import UNITS, Lap, Metrics, Stopwatch
from onnxlift_runtime.telemetry import MAX_VALUES
from tests.support.builders import manifest


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_batch_is_written_in_tritons_split(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics("pets")
    metrics.note_batch("cats", 8, [0.001, 0.002], Lap(0.0005, 0.25, 0.00075))
    metrics.note_job("cats", succeeded=True)
    metrics.note_job("cats", succeeded=False)

    metrics.write()

    (line,) = lines(capsys)
    assert (line["service"], line["model"]) == ("pets", "cats")
    assert line["queue_us"] == [1_000, 2_000]
    assert (line["compute_input_us"], line["compute_infer_us"], line["compute_output_us"]) == (
        [500],
        [250_000],
        [750],
    )
    assert (line["batch_size"], line["requests_succeeded"], line["requests_failed"]) == (
        [8],
        [1],
        [1],
    )


def test_every_metric_has_its_unit_and_dimensions(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics("pets")
    metrics.note_batch("cats", 8, [0.001], Lap(0, 0, 0))

    metrics.write()

    (line,) = lines(capsys)
    (told,) = line["_aws"]["CloudWatchMetrics"]
    assert told["Dimensions"] == [["service", "model"]]
    assert {item["Name"]: item["Unit"] for item in told["Metrics"]} == {
        name: UNITS[name] for name in line if name not in {"_aws", "service", "model"}
    }
    assert abs(line["_aws"]["Timestamp"] - time.time() * 1000) < 60_000


def test_no_line_has_more_values_than_cloudwatch_takes(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics("pets")
    for number in range(250):
        metrics.note_batch("cats", number, [0.0], Lap(0, 0, 0))
    metrics.note_job("dogs", succeeded=True)

    metrics.write()

    written = [line for line in lines(capsys) if line["model"] == "cats"]
    assert [size for line in written for size in line["batch_size"]] == list(range(250))
    assert max(len(line["batch_size"]) for line in written) == MAX_VALUES
    metrics.write()
    assert lines(capsys) == []


def test_the_stopwatch_parts_all_runs_from_what_is_around_them() -> None:
    def run(*_call: object) -> dict[str, Any]:
        time.sleep(0.01)
        return {}

    watch = Stopwatch(run)
    for _ in range(2):
        watch.run(manifest(), {"x": np.zeros(1)}, ())

    lap = watch.lap()
    assert lap.infer_s >= 0.02
    assert lap.input_s >= 0
    assert lap.output_s >= 0
