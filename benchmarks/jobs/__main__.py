"""``python -m benchmarks.jobs``: 2,000 jobs from 8 callers while worker processes are killed at
random.

Starts `onnxlift serve` with a small model of its own, submits a third of the jobs through the API,
a third through the public queue and a third as dropped objects, and kills a worker process
(SIGKILL) every few seconds. Then it reads the table itself, and checks what must hold. Exits 1
where something does not.

Visibility timeouts and the lease are shortened, so that one need not wait half an hour for what a
dead worker held.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.jobs.callers import submit_all
from benchmarks.jobs.chaos import Killer
from benchmarks.jobs.findings import Findings, find
from benchmarks.jobs.setting import prepare, shorten_visibility
from onnxlift.local.process import running_service


def main() -> int:
    """Run it and print what was found; returns the exit status."""
    parser = argparse.ArgumentParser(description="Jobs while worker processes are killed.")
    parser.add_argument("--jobs", type=int, default=2_000, help="how many (default %(default)s)")
    parser.add_argument(
        "--callers", type=int, default=8, help="threads that submit (default %(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, default=3, help="worker processes (default %(default)s)"
    )
    parser.add_argument(
        "--kill-every", type=float, default=3.0, help="seconds between kills (default %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of inputs and kills (default %(default)s)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onnxlift-") as folder:
        setting = prepare(Path(folder), options.jobs, options.seed)
        arguments = ["--quiet", "--workers", str(options.workers), "--sweep-every", "4"]
        with running_service(setting.config_path, arguments) as service:
            shorten_visibility(setting, service)
            with Killer(service.process.pid, options.kill_every, options.seed) as killer:
                submitted = submit_all(setting, service, options.callers)
                findings = find(setting, service, submitted)
            found = findings.with_kills(killer.kills)
    _print(found)
    return 1 if found.problems else 0


def _print(found: Findings) -> None:
    for name, value in found.figures.items():
        print(f"{name:44} {value}")
    for problem in found.problems:
        print(f"FAILED: {problem}", file=sys.stderr)
    if not found.problems:
        print("every job ended SUCCEEDED exactly once, with the right result")


if __name__ == "__main__":
    sys.exit(main())
