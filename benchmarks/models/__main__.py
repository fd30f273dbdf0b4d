"""``make bench-models``: models that others published, compressed and compared in one run."""

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort

from benchmarks.models import comparison, wheels
from benchmarks.models.subjects import subject
from benchmarks.models.table import render
from onnxlift.compress.cpu.description import describe_cpu

HERE: Final = Path(__file__).parent
_RESULTS: Final = HERE / "results.json"


def main() -> None:
    """Every model in a process of its own, so that one's memory is not another's.

    ``--only NAME`` renews the rows of models whose name contains the text; ``--one NAME`` is what a
    process runs.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--only", default="", help="limit to models whose name contains this")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    parser.add_argument("--budget", type=float, default=240, help="seconds for each search")
    parser.add_argument("--recipe", default="auto", help="try this recipe alone")
    asked = parser.parse_args()
    known = wheels.fetch()
    if asked.one:
        chosen = subject(asked.one, known[asked.one])
        print("\n" + json.dumps(comparison.compare(chosen, asked.recipe, asked.budget)))
        return
    before = json.loads(_RESULTS.read_text("utf-8"))["models"] if asked.only else {}
    rows = {name: before[name] for name in known if name in before}
    for name in known:
        if asked.only in name:
            print(f"{datetime.now(UTC):%H:%M:%S} {name}", flush=True)
            rows[name] = _row(name, asked)
            results = {**_conditions(asked.budget), "models": rows}
            _RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    text = render(json.loads(_RESULTS.read_text("utf-8")))
    _insert(HERE / "README.md", text)
    print(text)


def _row(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "benchmarks.models", "--one", name, "--recipe", asked.recipe,
        "--budget", str(asked.budget),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"model": name, "failed": last}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def _conditions(budget_s: float) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": describe_cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[1], 1),
        "onnxruntime": ort.__version__,
        "budget_s": budget_s,
    }


def _insert(path: Path, text: str) -> None:
    """Put the table between the README's two marks."""
    start, end = "<!-- table -->\n", "<!-- end -->"
    before, _, rest = path.read_text("utf-8").partition(start)
    path.write_text(f"{before}{start}{text}\n{end}{rest.partition(end)[2]}", "utf-8")


if __name__ == "__main__":
    main()
