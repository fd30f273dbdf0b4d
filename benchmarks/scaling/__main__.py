"""``python -m benchmarks.scaling --usd-per-hour X``: a day through the deployed rules, as a table
and a picture.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.scaling.day import DAY_S, arrivals
from benchmarks.scaling.picture import draw
from benchmarks.scaling.simulation import Day, Outcome, World
from onnxlift.hosting import Gpu

PICTURE: Final = Path(__file__).resolve().parents[2] / "docs" / "scaling.svg"


@dataclass(frozen=True)
class Variant:
    """A way to have workers."""

    name: str
    gpu: Gpu
    world: World


def main() -> None:
    """Play the day in each way, print a table, and draw the way that a service has by default with
    more workers.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--usd-per-hour", type=float, required=True, help="price of a machine, with all fees"
    )
    price = parser.parse_args().usd_per_hour
    told, one = arrivals(), Gpu(jobs_per_task=500)
    four = one.model_copy(update={"max_tasks": 4})
    variants = (
        Variant("1 worker at most, woken at submission", one, World()),
        Variant("4 workers at most, woken at submission", four, World()),
        Variant("4 workers at most, woken by alarms alone", four, World(wakes=False)),
    )
    print(
        "| way | wake-up, median / p95 / longest | all jobs, p95 | machine hours | USD a day "
        "|\n|---|---|---|---|---|"
    )
    for variant in variants:
        outcome = Day(told, variant.gpu, variant.world).play(DAY_S)
        print(_row(variant.name, told, outcome, price))
        if variant.gpu is four and variant.world.wakes:
            PICTURE.write_text(draw(outcome.waiting, outcome.tasks) + "\n", "utf-8")
    print(f"| one machine that never ends | – | – | 24.0 | {24 * price:.2f} |")


def _row(name: str, told: Sequence[int], outcome: Outcome, price: float) -> str:
    waits = sorted(began - told[job] for job, began in outcome.began.items())
    woken = sorted(outcome.began[job] - told[job] for job in outcome.asleep)
    hours = outcome.paid_s / 3600
    wake = f"{_at(woken, 0.5):.0f} / {_at(woken, 0.95):.0f} / {woken[-1]:.0f} s"
    return f"| {name} | {wake} | {_at(waits, 0.95):.0f} s | {hours:.1f} | {hours * price:.2f} |"


def _at(figures: Sequence[float], share: float) -> float:
    return figures[min(len(figures) - 1, int(len(figures) * share))]


if __name__ == "__main__":
    main()
