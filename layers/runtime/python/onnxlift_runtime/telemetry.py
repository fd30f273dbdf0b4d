"""What a function tells its operator: one JSON line per event on standard output, which Lambda
sends to its log group.

The predict path keeps to this module: a logging library costs 40 ms of every cold start.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
NAMESPACE: Final = "onnxlift"
# Of one metric in one line; CloudWatch takes 100, with which Powertools prints by itself.
MAX_VALUES: Final = 99
_threshold: list[int] = [LEVELS["info"]]


def configure(level: str) -> None:
    """Drop lines below ``level``, a word of ``LEVELS`` in any case; an unknown word keeps
    everything.
    """
    _threshold[0] = LEVELS.get(level.lower(), 0)


def log(level: str, message: str, **fields: str | int | float | bool | None) -> None:
    """Write one line; never put tensors or payloads into ``fields``."""
    if LEVELS[level] < _threshold[0]:
        return
    now = time.time()
    timestamp = (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    )
    line = json.dumps(
        {"timestamp": timestamp, "level": level.upper(), "message": message, **fields}, default=str
    )
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def measure(
    dimensions: Mapping[str, str], units: Mapping[str, str], values: Mapping[str, Sequence[float]]
) -> None:
    """Write measurements as CloudWatch's embedded metric format, which makes metrics of log lines.

    ``units`` are CloudWatch's, by the metric's name; a metric with many values takes several lines.
    Whoever answers a request at once does not call this: it loads Powertools, 40 ms, or 8 ms where
    boto3 is loaded
    (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
    """
    from aws_lambda_powertools.metrics import EphemeralMetrics

    for start in range(0, max(map(len, values.values()), default=0), MAX_VALUES):
        told = EphemeralMetrics(namespace=NAMESPACE, default_dimensions=dict(dimensions))
        for name, measured in values.items():
            for value in measured[start : start + MAX_VALUES]:
                told.add_metric(name, units[name], value)
        # Not ``flush_metrics``: it prints a line in two writes, and those of other threads come
        # between.
        sys.stdout.write(json.dumps(told.serialize_metric_set()) + "\n")
    sys.stdout.flush()
