"""From values to places on a plot: a straight scale for costs, a logarithmic one with a zero for
losses; pure.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_MOST_DECADES: Final = 5
_SMALLEST, _LARGEST = 1e-12, 1e9
_STEPS: Final = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Straight:
    """Costs from zero to ``top`` on pixels ``start`` to ``end``."""

    top: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Iterable[float], start: float, end: float) -> "Straight":
        """A scale that holds all values, with a little room behind the largest."""
        return cls(max(values, default=1.0) * 1.06, start, end)

    def place(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (self.end - self.start) * value / self.top

    def ticks(self, most: int = 6) -> tuple[float, ...]:
        """Round values from zero on, at most ``most`` of them."""
        rough = self.top / most
        power = 10 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in _STEPS if factor * power >= rough * (1 - 1e-9))
        return tuple(index * step for index in range(int(self.top / step * (1 + 1e-9)) + 1))


@dataclass(frozen=True, slots=True)
class Losses:
    """Losses in decades between 10**first at ``near`` and 10**last at ``far``; anything smaller
    lies at ``zero``.
    """

    first: int
    last: int
    zero: float
    near: float
    far: float

    @classmethod
    def over(cls, values: Iterable[float], zero: float, near: float, far: float) -> "Losses":
        """A scale that holds the largest value, and as many decades below it as the others need,
        five at most.
        """
        positive = [min(value, _LARGEST) for value in values if value >= _SMALLEST]
        if not positive:
            return cls(-3, -2, zero, near, far)
        last = (
            math.floor(math.log10(max(positive)) + 1e-9) + 1
        )  # so that there is room beyond the limit
        first = math.floor(math.log10(min(positive)) + 1e-9)
        return cls(min(max(first, last - _MOST_DECADES), last - 1), last, zero, near, far)

    def place(self, value: float) -> float:
        """The pixel of a loss; what is infinite or no number lies at the end."""
        if value < 10.0**self.first * (1 - 1e-9):
            return self.zero
        decades = math.log10(value) if math.isfinite(value) else math.inf
        share = (min(decades, self.last) - self.first) / (self.last - self.first)
        return self.near + (self.far - self.near) * max(share, 0.0)

    def ticks(self) -> tuple[float, ...]:
        """Every power of ten."""
        return tuple(10.0**power for power in range(self.first, self.last + 1))
