"""What a recipe will lose and weigh, from what each node loses alone; pure.

Errors of single nodes add up closely (measured on MiniLM: their sum 0.0065, the joint error
0.0066), so sensitivity is measured once and every recipe is predicted by a sum. Only recipes on the
predicted frontier are worth making.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from onnxlift.compress.recipes.recipe import Recipe
from onnxlift.compress.results import NodeSensitivity

# How far a sum may be off before a recipe is given up unseen: rounding with compensation loses less
# than predicted.
HOPELESS: Final = 6.0
# One recipe beats another unseen only where the sum cannot be wrong about it.
_SMALLER: Final = 0.98
_CLOSER: Final = 0.5
_SURE: Final = 0.5
_LUCKY: Final = 1.5


@dataclass(frozen=True)
class Prediction:
    """What a recipe is expected to lose (half the mean squared relative error, which is 1 - cosine)
    and to weigh.
    """

    error: float
    size_bytes: int


def predict(
    recipe: Recipe, nodes: Sequence[NodeSensitivity], source_bytes: int
) -> Prediction | None:
    """The sum over the nodes; None where a step's effect on one of them was not measured."""
    if not nodes or not all(step.is_predictable(recipe.steps) for step in recipe.steps):
        return None
    given = precisions(recipe, nodes)
    error, size = 0.0, float(source_bytes)
    for node in nodes:
        if node.node not in given:
            continue
        precision, share = given[node.node]
        found = node.error(precision)
        if found is None:
            return None
        error, size = error + found, size - node.size_bytes * (1 - share)
    return Prediction(error, round(size))


def precisions(recipe: Recipe, nodes: Sequence[NodeSensitivity]) -> Mapping[str, tuple[str, float]]:
    """Each node's precision after a resolved recipe, and the share of its bytes that is left."""
    given: dict[str, tuple[str, float]] = {}
    for step in recipe.steps:
        for node in nodes:
            if step.reaches(node):
                given.setdefault(node.node, (step.precision, step.kept_share))
    return given


def worst(nodes: Sequence[NodeSensitivity], precision: str) -> tuple[str, ...]:
    """The projections that lose most at this precision, for each byte they have, the worst
    first.
    """
    found = [
        (item.error / max(node.size_bytes, 1), node.node)
        for node in nodes
        for item in node.errors
        if item.precision == precision and not node.is_table
    ]
    return tuple(name for _, name in sorted(found, key=lambda pair: (-pair[0], pair[1])))


def unpromising(
    recipes: Iterable[Recipe], predictions: Mapping[str, Prediction], allowed: float | None
) -> dict[str, str]:
    """The recipes that need not be made, each with the reason; ``allowed`` is the largest error
    where that is known.
    """
    reasons: dict[str, str] = {}
    known = [recipe for recipe in recipes if recipe.name in predictions]
    for recipe in known:
        mine = predictions[recipe.name]
        if allowed is not None and mine.error > HOPELESS * allowed:
            reasons[recipe.name] = (
                f"not tried: predicted error {mine.error:.2g}, {allowed:.2g} is allowed"
            )
        elif better := next((other for other in known if _beats(other, recipe, predictions)), None):
            reasons[recipe.name] = f"not tried: {better.name} is predicted to be smaller and closer"
    return reasons


def by_promise(
    recipes: Iterable[Recipe],
    predictions: Mapping[str, Prediction],
    allowed: float | None,
    *,
    smallest: bool,
) -> list[Recipe]:
    """The recipes in the order in which to try them, so that a search that is cut short has seen
    what matters.

    First one that surely passes, then what may, then what nobody predicted, then what needs luck.
    With ``smallest`` the smaller ones of a group first, else the preferred ones; without an
    ``allowed`` error all are one group.
    """

    def key(recipe: Recipe) -> tuple[int, float]:
        found = predictions.get(recipe.name)
        if found is None or allowed is None:
            return 2, 0.0
        if found.error > _LUCKY * allowed:
            return 3, found.error
        return 1, float(found.size_bytes) if smallest else 0.0

    found = sorted(recipes, key=key)
    limit = _SURE * (allowed or 0.0)
    sure = next(
        (item for item in found if key(item)[0] == 1 and predictions[item.name].error <= limit),
        None,
    )
    return [sure, *(item for item in found if item is not sure)] if sure else found


def _beats(other: Recipe, recipe: Recipe, predictions: Mapping[str, Prediction]) -> bool:
    """Whether ``other`` is smaller, closer and as quick: products of another width are not,
    whatever their size.
    """
    first, second = predictions[other.name], predictions[recipe.name]
    tags_hold = other.isa_safe >= recipe.isa_safe and other.batch_stable >= recipe.batch_stable
    better = (
        first.size_bytes < second.size_bytes * _SMALLER and first.error < second.error * _CLOSER
    )
    return better and tags_hold and _products(other) == _products(recipe)


def _products(recipe: Recipe) -> frozenset[str]:
    return frozenset(step.precision for step in recipe.steps if step.multiplies)
