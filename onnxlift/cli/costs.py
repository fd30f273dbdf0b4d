"""What ``onnxlift plan`` tells: for each model its limits and its costs, then what the service
costs as a whole.
"""

from collections.abc import Iterator
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxlift.cost.estimate import BOOT_MINUTES
from onnxlift.cost.plan import ModelPlan, Plan
from onnxlift.units import NOTHING
from onnxlift_runtime.names import GPU


def as_tables(plan: Plan) -> RenderableType:
    """The plan for a reader."""
    parts: list[RenderableType] = []
    for model in plan.models:
        parts += [*_model(model), ""]
    parts += [Text(f"{name}: {why}", "yellow") for name, why in plan.missing.items()]
    if any(GPU in model.placement.tiers for model in plan.models):
        parts.append(Text(_networks(plan)))
    parts.append(Text(_OMITTED.format(region=plan.region), "dim"))
    parts += [Text(told, "yellow") for told in plan.cautions]
    return Group(*parts)


_OMITTED: Final = (
    "US dollars a month in {region}, for requests of one row; without free tiers, cold starts and "
    "transfer. "
    "GPU: at most, because its work is counted as one processor's"
)


def _networks(plan: Plan) -> str:
    told = (
        f"{name} {_usd(amount)}{' (configured)' if name == plan.network else ''}"
        for name, amount in plan.networks_usd.items()
    )
    return f"GPU network, a month by itself: {', '.join(told)}"


def _model(model: ModelPlan) -> Iterator[RenderableType]:
    yield Text.assemble(
        (model.name, "bold"), f" → {' + '.join(model.placement.tiers)}: {model.placement.reason}"
    )
    yield _margins(model)
    yield _traffic(model)
    yield Text(_break_even(model))
    idle = model.estimate.idle
    yield Text(
        f"a month without a request: {_usd(idle.model_usd)} for the model, "
        f"{_usd(idle.service_usd)} for the service"
    )


def _margins(model: ModelPlan) -> Table:
    table = Table("limit of Lambda", "needed", "allowed", "left")
    for column in table.columns[1:]:
        column.justify = "right"
    for item in model.margins:
        left = Text("broken", "red") if item.broken else Text(f"{item.left:.0%}")
        table.add_row(
            item.limit, f"{item.needed:,.4g} {item.unit}", f"{item.allowed:,.0f} {item.unit}", left
        )
    return table


def _traffic(model: ModelPlan) -> Table:
    machine = model.estimate.machine
    table = Table("requests a month", "Lambda", f"{machine}, evenly", f"{machine}, one burst a day")
    for column in table.columns:
        column.justify = "right"
    for level in model.estimate.traffic:
        on_lambda = NOTHING if level.lambda_usd is None else _usd(level.lambda_usd)
        table.add_row(
            f"{level.requests:,}", on_lambda, _usd(level.gpu_even_usd), _usd(level.gpu_daily_usd)
        )
    return table


def _break_even(model: ModelPlan) -> str:
    found = model.estimate
    hour = (
        f"{found.machine} at {_usd(found.machine_hour_usd)} an hour, {BOOT_MINUTES:.0f} "
        f"minutes from sleep to work"
    )
    if found.break_even_rps is None:
        return f"{hour}; there is no other tier to compare with"
    return (
        f"{hour}; Lambda is cheaper below {found.break_even_rps:,.3g} requests a second, if "
        f"the GPU sustains as many"
    )


def _usd(amount: float) -> str:
    return f"${amount:,.2f}" if amount >= 0.01 or amount == 0 else f"${amount:.2g}"
