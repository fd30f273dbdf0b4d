"""The plan of a whole service: each model's placement, margins and costs, and what lacks an
artifact.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from onnxlift.artifact import read_versions
from onnxlift.config import Config
from onnxlift.cost.estimate import Estimate, estimate, network_months
from onnxlift.cost.margin import Margin, margins
from onnxlift.cost.prices import Prices
from onnxlift.placement import Placement, place, require_verified, together
from onnxlift_runtime.errors import ConfigInvalid


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """One model that has an artifact."""

    name: str
    placement: Placement
    margins: tuple[Margin, ...]
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Plan:
    """All of them; ``missing`` says what to do about the others, ``cautions`` what to know about
    the prices.

    ``networks_usd`` is what each network of GPU machines costs a month by itself; ``network`` is
    the configured one.
    """

    models: tuple[ModelPlan, ...]
    missing: Mapping[str, str]
    region: str
    network: str
    networks_usd: Mapping[str, float]
    cautions: tuple[str, ...]

    def as_document(self) -> dict[str, Any]:
        """The plan for a program."""
        models = [
            {
                "name": model.name,
                "placement": asdict(model.placement) | {"tiers": list(model.placement.tiers)},
                "margins": [asdict(item) | {"left": item.left} for item in model.margins],
                "estimate": asdict(model.estimate),
            }
            for model in self.models
        ]
        shared = {
            "region": self.region,
            "network": self.network,
            "networks_usd": dict(self.networks_usd),
        }
        return {
            "models": models,
            "missing": dict(self.missing),
            **shared,
            "cautions": list(self.cautions),
        }


def make_plan(
    config: Config, models: Iterable[str], prices: Prices, levels: tuple[int, ...], today: date
) -> Plan:
    """Plan these models, all where none is named; raises ``ConfigInvalid`` for a name that is not
    configured.
    """
    names = tuple(models) or tuple(config.models)
    for name in names:
        if name not in config.models:
            raise ConfigInvalid(
                f"model {name!r} is not configured; configured are: {', '.join(config.models)}"
            )
    planned = {name: _plan_model(config, name, prices, levels) for name in names}
    found = tuple(plan for plan in planned.values() if plan)
    missing = {
        name: f"not compressed yet; run `onnxlift compress {name}`"
        for name, plan in planned.items()
        if plan is None
    }
    networks_usd = network_months(prices, config)
    return Plan(
        found, missing, prices.region, config.gpu.network, networks_usd, prices.cautions(today)
    )


def _plan_model(
    config: Config, name: str, prices: Prices, levels: tuple[int, ...]
) -> ModelPlan | None:
    versions = read_versions(config, name)
    if not versions:
        return None
    manifest = together(versions)
    model = config.models[name]
    placement = place(manifest, model.placement)
    for version in versions:
        require_verified(version, placement.tier, allowed=model.quality.allow_unverified)
    return ModelPlan(
        name, placement, margins(manifest), estimate(manifest, placement, config, prices, levels)
    )
