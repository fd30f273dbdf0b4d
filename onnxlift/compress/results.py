"""What a compression run found, as plain frozen values that several rooms share, and their JSON.

Sizes are in bytes, times in milliseconds unless the name says otherwise, memory in MiB. The search
fills these values, ``report`` writes them beside the manifest; they are never served.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

from onnxlift_runtime.errors import ArtifactCorrupt
from onnxlift_runtime.manifest import FileEntry, Latency, Source

if TYPE_CHECKING:
    from pydantic import TypeAdapter

REPORT_NAME: Final = "report.json"
SCHEMA_VERSION: Final = 1

Status: TypeAlias = Literal["chosen", "lost", "failed", "skipped"]


class _Strict:
    """Makes pydantic refuse keys that a value does not have."""

    __slots__ = ()
    __pydantic_config__: ClassVar = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Limit(_Strict):
    """One condition of the quality gate: the worst figure allowed, and how surely the true one must
    be better.

    ``reference`` is the fp32 model's figure, ``confidence`` that of the one-sided bound (0.95), 0
    where none is taken.
    """

    metric: str
    reference: float
    allowed: float
    confidence: float = 0.0
    larger_is_better: bool = True

    def loss(self, figure: float) -> float:
        """How much worse than the fp32 model a figure is; negative where it is better."""
        return self.reference - figure if self.larger_is_better else figure - self.reference

    @property
    def max_loss(self) -> float:
        """The largest loss allowed."""
        return abs(self.reference - self.allowed)

    def deciding_loss(self, figure: "Figure") -> float:
        """The loss that is held against the allowed one: that of the bound.

        Where so few samples could not show the allowed loss, whatever a candidate answered, the
        bootstrap's bound decides alone.
        """
        if self.is_blind(figure) and figure.bootstrap_bound is not None:
            return self.loss(figure.bootstrap_bound)
        return self.loss(figure.bound)

    def is_blind(self, figure: "Figure") -> bool:
        """Whether so few samples cannot show the allowed loss."""
        return figure.least_loss > self.max_loss

    def worst(self, figures: Iterable["Figure"]) -> "Figure | None":
        """The figure that decides: the one whose bound lost most, over instruction sets and batch
        sizes.
        """
        found = (figure for figure in figures if figure.metric == self.metric)
        return max(
            found, key=lambda item: (self.deciding_loss(item), self.loss(item.bound)), default=None
        )


@dataclass(frozen=True, slots=True)
class Figure(_Strict):
    """One metric of one candidate; ``bound`` is the confidence bound on its worse side, which the
    limit is held to.

    ``bootstrap_bound`` comes from resampling alone. ``least_loss`` is the smallest loss that this
    number of samples can show.
    """

    metric: str
    measured: float
    bound: float
    samples: int
    batch_size: int
    instruction_set: str
    bootstrap_bound: float | None = None
    least_loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Agreement(_Strict):
    """How closely answers on another instruction set follow this machine's; ``road`` is how it was
    reached.
    """

    instruction_set: str
    measured: float
    road: str


@dataclass(frozen=True, slots=True)
class CandidateRow(_Strict):
    """One recipe's outcome; figures are empty where it gave no model, then ``reason`` says why.

    ``reason`` says for a loser why it lost, and for the chosen one what decided. ``seconds`` is
    what making and measuring it took; ``cached`` means that an earlier run did. ``predicted_error``
    is what the search expected before it measured. ``slowdown`` is its time over fp32's, both taken
    in turns in one process. ``gzip_bytes``, ``cost_usd_per_1000`` and ``slowdown`` are None where
    they were not measured.
    """

    recipe: str
    steps: tuple[str, ...]
    status: Status
    reason: str = ""
    size_bytes: int = 0
    gzip_bytes: int | None = None
    figures: tuple[Figure, ...] = ()
    agreement: tuple[Agreement, ...] = ()
    predicted_error: float | None = None
    latency: tuple[Latency, ...] = ()
    load_ms: float | None = None
    peak_memory_mb: float | None = None
    cost_usd_per_1000: float | None = None
    slowdown: float | None = None
    digest: str = ""
    cached: bool = False
    seconds: float = 0.0

    def worst(self, limit: Limit) -> Figure | None:
        """The figure that decides a limit."""
        return limit.worst(self.figures)


@dataclass(frozen=True, slots=True)
class PrecisionError(_Strict):
    """What the answers lose when one node alone is brought to this precision, such as ``int8`` or
    ``4-bit``.
    """

    precision: str
    error: float


@dataclass(frozen=True, slots=True)
class NodeSensitivity(_Strict):
    """How much the model's answers depend on one node's weights."""

    node: str
    operator: str
    layer: str
    size_bytes: int
    errors: tuple[PrecisionError, ...]

    @property
    def is_table(self) -> bool:
        """Whether it looks rows up in a table; otherwise it is a projection."""
        return self.operator == "Gather"

    def error(self, precision: str) -> float | None:
        """The error in this precision, None where it was not measured."""
        return next((item.error for item in self.errors if item.precision == precision), None)


@dataclass(frozen=True, slots=True)
class LayerSize(_Strict):
    """Bytes of weights that one operator type has in one layer, in the model as it came and in the
    chosen one.
    """

    layer: str
    operator: str
    before_bytes: int
    after_bytes: int


@dataclass(frozen=True, slots=True)
class SampleSet(_Strict):
    """Samples that took part: what for, from which file, and its digest; never their contents."""

    role: str
    file: str
    sha256: str
    count: int


@dataclass(frozen=True, slots=True)
class Machine(_Strict):
    """Where and with what the run was made."""

    cpu: str
    architecture: str
    threads: int
    onnxruntime: str
    onnxlift: str


@dataclass(frozen=True, slots=True)
class Report(_Strict):
    """Everything a compression run found about one version of one model.

    ``targets`` are the instruction sets that answers were compared on, ``notes`` sentences that a
    reader must know, such as what was not verified. ``candidates`` keep the search's order.
    ``opset`` and ``files`` are the artifact's. ``budget_s`` is 0 where the search was not bounded,
    ``finished_at`` is UTC as ISO 8601.
    """

    model: str
    version: str
    source: Source
    opset: int
    limits: tuple[Limit, ...]
    optimize_for: str
    targets: tuple[str, ...]
    machine: Machine
    candidates: tuple[CandidateRow, ...]
    sensitivity: tuple[NodeSensitivity, ...] = ()
    layers: tuple[LayerSize, ...] = ()
    samples: tuple[SampleSet, ...] = ()
    files: tuple[FileEntry, ...] = ()
    notes: tuple[str, ...] = ()
    budget_s: float = 0.0
    seconds: float = 0.0
    finished_at: str = ""
    schema_version: Literal[1] = SCHEMA_VERSION

    @property
    def chosen(self) -> CandidateRow | None:
        """The candidate that became the artifact, None where none passed."""
        return next((row for row in self.candidates if row.status == "chosen"), None)

    def to_json(self) -> str:
        """Write stable, indented JSON that ``from_json`` reads back unchanged; NaN and infinities
        become words.

        Half characters, as file names may hold them, become question marks.
        """
        return json.dumps(plain(asdict(self)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Report":
        """Read a report; raises ``ArtifactCorrupt`` naming the first key that does not fit."""
        from pydantic import ValidationError

        try:
            return _adapter().validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ArtifactCorrupt(f"{REPORT_NAME}: {key or 'it'}: {first['msg']}") from error


def plain(value: Any) -> Any:
    """What strict JSON and UTF-8 can hold of a dictionary, a tuple or a single value: NaN and
    infinities are words.
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


@cache
def _adapter() -> "TypeAdapter[Report]":
    from pydantic import TypeAdapter  # recipes and steps read no report and do without

    return TypeAdapter(Report)
