"""The quality gate's tables of ``onnxlift.toml``; ``config`` reads them."""

import re
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from onnxlift.hosting import Table

LABELLED_METRICS: Final = ("accuracy", "f1")
ERROR_METRICS: Final = ("mean_absolute_error", "max_absolute_error")
METRICS: Final = (
    "accuracy",
    "f1",
    "cosine",
    "cosine_min",
    "spearman",
    "r2",
    "nearest_neighbour_agreement",
    *ERROR_METRICS,
)
_METRIC_PATTERN: Final = r"^(top[1-9][0-9]?_agreement|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$"


def _known_metric(name: str) -> str:
    if name not in METRICS and not re.match(_METRIC_PATTERN, name):
        raise ValueError(
            f"known are {', '.join(METRICS)}, topK_agreement, or a function of yours as "
            f"module:function"
        )
    return name


Metric: TypeAlias = Annotated[
    str,
    AfterValidator(_known_metric),
    WithJsonSchema(
        {"anyOf": [{"enum": list(METRICS)}, {"type": "string", "pattern": _METRIC_PATTERN}]}
    ),
]


class Limit(Table):
    """One condition of the quality gate: a metric and how much of it may be lost."""

    metric: Metric = Field(
        "top1_agreement",
        description="accuracy, f1: against the labels. topK_agreement, cosine (mean), cosine_min, "
        "spearman, r2, "
        "nearest_neighbour_agreement, mean_absolute_error, max_absolute_error: against the fp32 "
        "model's answers. "
        "module:function: yours.",
    )
    max_drop: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01, description="The largest loss of the metric allowed."
    )
    max_error: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="The largest value allowed, for metrics that are errors; in place of max_drop.",
    )

    @model_validator(mode="after")
    def _bounded(self) -> "Limit":
        is_error = self.metric in ERROR_METRICS
        if is_error and self.max_error is None:
            raise ValueError(
                f"{self.metric} is better when it is lower; say with max_error how large it may "
                f"become"
            )
        if not is_error and self.max_error is not None:
            raise ValueError(
                f"{self.metric} is better when it is higher; max_error is for "
                f"{', '.join(ERROR_METRICS)}"
            )
        return self

    @property
    def allowed_loss(self) -> float:
        """How much worse than the fp32 model's a figure may be; an error's is 0."""
        return self.max_drop if self.max_error is None else self.max_error


class Quality(Limit):
    """The quality gate: the metric, the held-out samples, and the loss that is allowed."""

    samples: Path | None = Field(
        None,
        description="A .npz file with one array per input, and the labels for `accuracy` and `f1`. "
        "Without it the gate runs on inputs made from the model's signature.",
    )
    output: str | None = Field(
        None, description="The output that the metrics judge; by default the first."
    )
    labels: str = Field(
        "labels", description="The array in `samples` that holds the true class of each sample."
    )
    also: tuple[Limit, ...] = Field((), description="More conditions; a model must pass them all.")
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        0.95,
        description="How surely the true loss must be within the limit (one-sided bootstrap "
        "bound).",
    )
    batch_size: Annotated[int, Field(ge=1, le=256)] = Field(
        32,
        description="Rows that are served together; the gate judges at this batch size and one by "
        "one.",
    )
    min_agreement: Annotated[float, Field(ge=0, le=1)] = Field(
        0.999,
        description="How closely answers on all instruction sets must agree (mean cosine "
        "similarity).",
    )

    allow_unverified: bool = Field(
        False,
        description="Whether a model may be planned and deployed although none of the instruction "
        "sets that will serve it could be verified.",
    )

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Every condition, the main one first."""
        return (self, *self.also)

    @property
    def needs_labels(self) -> bool:
        """Whether a metric compares with the true classes."""
        return any(limit.metric in LABELLED_METRICS for limit in self.limits)

    @model_validator(mode="after")
    def _labelled(self) -> "Quality":
        if self.samples is None and self.needs_labels:
            raise ValueError(
                f"{' and '.join(LABELLED_METRICS)} compare with labels; name the file that holds "
                f"them in samples"
            )
        return self

    @model_validator(mode="after")
    def _each_once(self) -> "Quality":
        names = [limit.metric for limit in self.limits]
        if len(set(names)) < len(names):
            raise ValueError(f"a metric can have one limit only; they are {', '.join(names)}")
        return self
