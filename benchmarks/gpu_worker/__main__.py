"""``python -m benchmarks.gpu_worker chaos|throughput``: see README.md here."""

import argparse
import sys

from benchmarks.gpu_worker import chaos


def main() -> int:
    """Run one of them and print what was found; returns the exit status."""
    parser = argparse.ArgumentParser(description="The GPU worker under fire, and its throughput.")
    commands = parser.add_subparsers(dest="command", required=True)
    fire = commands.add_parser("chaos", help="jobs while workers are killed, calls fail and clocks jump")
    fire.add_argument("--jobs", type=int, default=chaos.Chaos().jobs, help="how many (default %(default)s)")
    fire.add_argument("--workers", type=int, default=chaos.Chaos().workers, help="processes (default %(default)s)")
    fire.add_argument("--seed", type=int, default=0, help="of everything random (default %(default)s)")
    options = parser.parse_args()
    return _report(chaos.run(chaos.Chaos(jobs=options.jobs, workers=options.workers, seed=options.seed)))


def _report(found: chaos.Found) -> int:
    for name, value in found.figures.items():
        print(f"{name:36} {value}")
    for problem in found.problems:
        print(f"FAILED: {problem}", file=sys.stderr)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
