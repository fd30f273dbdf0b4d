"""Elimination: which inputs of a layer it can do without, and what each costs when the others take
over.

Hassibi and Stork, "Optimal Brain Surgeon", NeurIPS 1992, for blocks of inputs: with V the inverse
second moment of the inputs, leaving out the block c of the weight W costs ``tr(W_cᵀ (V_cc)⁻¹ W_c)``
once all others are fitted again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxlift.compress.pruning.reconstruction import Statistics, solve


@dataclass
class Reader:
    """A layer that reads the channels, ``block`` inputs for each: its inverse moment V and its
    fitted weight W.
    """

    inverse: np.ndarray
    weight: np.ndarray
    block: int
    energy: float

    @classmethod
    def of(cls, statistics: Statistics, weight: np.ndarray, block: int) -> "Reader":
        """A reader with ``weight`` [1, inputs, outputs] fitted to the statistics of its one
        group.
        """
        inverse = np.linalg.inv(statistics.damped()[0])
        return cls(inverse, solve(statistics, weight)[0], block, max(statistics.energy, 1e-30))

    def costs(self) -> np.ndarray:
        """What each channel that is left costs, as a share of the energy of the layer's outputs."""
        rows = np.arange(len(self.weight)).reshape(-1, self.block)
        weight = self.weight[rows]
        inner = self.inverse[rows[:, :, None], rows[:, None, :]]
        costs: np.ndarray = (
            np.sum(weight * np.linalg.solve(inner, weight), axis=(1, 2)) / self.energy
        )
        return costs

    def drop(self, position: int) -> None:
        """Leave a channel out, let the others take over, and count only them from then on."""
        gone = slice(position * self.block, (position + 1) * self.block)
        spread = np.linalg.solve(self.inverse[gone, gone], self.inverse[gone]).T
        self.weight = np.delete(self.weight - spread @ self.weight[gone], gone, axis=0)
        left = np.delete(np.arange(len(spread)), gone)
        self.inverse = self.inverse[np.ix_(left, left)] - spread[left] @ self.inverse[gone][:, left]


def eliminate(readers: Sequence[Reader], channels: int, count: int) -> list[tuple[int, float]]:
    """The first ``count`` of the channels to leave out, each the cheapest of those left, and what
    it costs then.
    """
    alive = np.arange(channels)
    order: list[tuple[int, float]] = []
    for _ in range(count):
        costs = np.sum([reader.costs() for reader in readers], axis=0)
        position = int(np.argmin(costs))
        order.append((int(alive[position]), float(costs[position])))
        alive = np.delete(alive, position)
        for reader in readers:
            reader.drop(position)
    return order
