"""Prices with their unit, source and date, read from the newest file that lies beside this
module.
"""

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from onnxlift_runtime.errors import ConfigInvalid

REGION: Final = "us-east-1"
OLD_AFTER_DAYS: Final = 180
_FOLDER: Final = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Price:
    """One price in US dollars for one ``unit``; ``recalled`` is one that was written down from
    memory.
    """

    usd: float
    unit: str
    source: str
    date: date
    recalled: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """What a GPU machine costs an hour."""

    on_demand: Price
    spot: Price


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of one region; ``file`` is where they stand."""

    region: str
    file: str
    each: Mapping[str, Price]
    machines: Mapping[str, Machine]

    def usd(self, name: str) -> float:
        """One price by its name in the file."""
        return self.each[name].usd

    def machine(self, name: str) -> Machine:
        """A machine's prices; raises ``ConfigInvalid`` for one that has none here."""
        if name not in self.machines:
            known = ", ".join(sorted(self.machines))
            raise ConfigInvalid(f"{self.file} has no price of {name!r}; it has: {known}")
        return self.machines[name]

    def cautions(self, today: date) -> tuple[str, ...]:
        """What a reader must know before relying on them: how many are old, and how many
        recalled.
        """
        all_prices = list(self._all())
        old = [price.date for price in all_prices if (today - price.date).days > OLD_AFTER_DAYS]
        recalled = sum(price.recalled for price in all_prices)
        told = []
        if old:
            told.append(
                f"{len(old)} of {len(all_prices)} prices are older than {OLD_AFTER_DAYS} days, the "
                f"oldest is of "
                f"{min(old)}; look them up and write a newer {self.file}"
            )
        if recalled:
            told.append(
                f"{recalled} of {len(all_prices)} prices are recalled, not read: {self.file} marks "
                f"them"
            )
        return tuple(told)

    def _all(self) -> Iterator[Price]:
        yield from self.each.values()
        for machine in self.machines.values():
            yield from (machine.on_demand, machine.spot)


@functools.cache
def read_prices(region: str = REGION) -> Prices:
    """The newest prices of a region; raises ``ConfigInvalid`` where there are none."""
    files = sorted(_FOLDER.glob(f"prices.{region}.*.json"))
    if not files:
        raise ConfigInvalid(f"there are no prices of region {region!r}")
    document = json.loads(files[-1].read_text("utf-8"))
    machines = {
        name: Machine(_price(found["on_demand"]), _price(found["spot"]))
        for name, found in document["machines"].items()
    }
    each = {name: _price(found) for name, found in document["prices"].items()}
    return Prices(document["region"], files[-1].name, each, machines)


def _price(found: Mapping[str, Any]) -> Price:
    return Price(**{**found, "date": date.fromisoformat(found["date"])})
