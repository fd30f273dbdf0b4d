"""The page of metrics and the code name the same ones."""

import re
from pathlib import Path

from gpu_fallback import metrics as worker
from onnxlift_runtime.jobs import metrics

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def documented(title: str) -> dict[str, tuple[str, str]]:
    """Unit and dimensions of each metric in the table below a heading."""
    (section,) = re.findall(
        rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    return {
        name: (unit, by)
        for name, unit, by in re.findall(
            r"^\| `(\w+)` \| (\w+) \| ([^|]+) \|", section, re.MULTILINE
        )
    }


def dimensions(name: str) -> str:
    if name in metrics.BY_FUNCTION:
        return "service, function"
    return "service" if name in metrics.WITHOUT_MODEL else "service, model"


def test_every_metric_of_jobs_is_on_the_page() -> None:
    assert documented("Jobs") == {
        name: (unit, dimensions(name)) for name, unit in metrics.UNITS.items()
    }


def test_every_metric_of_gpu_workers_is_on_the_page() -> None:
    assert documented("GPU workers") == {
        name: (unit, "service, model") for name, unit in worker.UNITS.items()
    }
