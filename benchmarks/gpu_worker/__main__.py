"""``python -m benchmarks.gpu_worker chaos|throughput``: see README.md here."""

import argparse
import sys
from collections.abc import Mapping, Sequence

from benchmarks.gpu_worker import chaos, throughput
from onnxlift_runtime import telemetry
from onnxlift_runtime.settings import WorkerSettings


def main() -> int:
    """Run one of them and print what was found; returns the exit status."""
    parser = argparse.ArgumentParser(description="The GPU worker under fire, and its throughput.")
    commands = parser.add_subparsers(dest="command", required=True)
    fire = commands.add_parser(
        "chaos", help="jobs while workers are killed, calls fail and clocks jump"
    )
    fire.add_argument(
        "--jobs", type=int, default=chaos.Chaos().jobs, help="how many (default %(default)s)"
    )
    fire.add_argument(
        "--workers", type=int, default=chaos.Chaos().workers, help="processes (default %(default)s)"
    )
    fire.add_argument(
        "--seed", type=int, default=0, help="of everything random (default %(default)s)"
    )
    load, rate = (
        throughput.Load(),
        commands.add_parser("throughput", help="pictures a second, beside the bare session"),
    )
    rate.add_argument(
        "--jobs", type=int, default=load.jobs, help="in each round (default %(default)s)"
    )
    rate.add_argument("--rounds", type=int, default=load.rounds, help="(default %(default)s)")
    rate.add_argument(
        "--channels", type=int, default=load.channels, help="of each layer (default %(default)s)"
    )
    rate.add_argument(
        "--layers", type=int, default=load.layers, help="of the network (default %(default)s)"
    )
    options = parser.parse_args()
    return _chaos(options) if options.command == "chaos" else _throughput(options)


def _chaos(options: argparse.Namespace) -> int:
    found = chaos.run(chaos.Chaos(jobs=options.jobs, workers=options.workers, seed=options.seed))
    return _report(found.figures, found.problems)


def _throughput(options: argparse.Namespace) -> int:
    telemetry.configure("error")
    load = throughput.Load(
        jobs=options.jobs, rounds=options.rounds, channels=options.channels, layers=options.layers
    )
    return _report(throughput.measure(load, WorkerSettings(allow_cpu=True)), ())


def _report(figures: Mapping[str, str], problems: Sequence[str]) -> int:
    for name, value in figures.items():
        print(f"{name:36} {value}")
    for problem in problems:
        print(f"FAILED: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
