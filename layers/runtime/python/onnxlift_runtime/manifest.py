"""What the build side tells the serving side about one version of one model: ``manifest.json``."""

import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from onnxlift_runtime.errors import ArtifactCorrupt, ArtifactMissing

MANIFEST_NAME: Final = "manifest.json"
SAMPLES: Final = "samples"
GENERATED: Final = "generated inputs"
SCHEMA_VERSION: Final = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: ``shape`` holds -1 for a variable dimension; ``labels`` names the
    classes of an output.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of the artifact, relative to its folder."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality gate's verdict, measured on held-out samples; ``reference`` is the fp32 model's
    figure.

    With ``confidence`` the true figure is on the better side of ``bound``, which is what
    ``max_drop`` was held to.
    """

    metric: str
    reference: float
    measured: float
    max_drop: float
    samples: int
    bound: float | None = None
    confidence: float = 0.0
    larger_is_better: bool = True

    @property
    def drop(self) -> float:
        """How much was lost; negative where the compressed model is better."""
        lost = self.reference - self.measured
        return lost if self.larger_is_better else -lost


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of ``session.run`` at one batch size."""

    batch_size: int
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Measurements:
    """What loading and running the final bytes cost in a fresh process; ``cpu`` says on which
    instruction set.
    """

    load_ms: float
    peak_memory_mb: float
    latency: tuple[Latency, ...]
    cpu: str
    threads: int
    onnxruntime: str


@dataclass(frozen=True, slots=True)
class Source:
    """The model that was compressed."""

    sha256: str
    size_bytes: int
    latency: tuple[Latency, ...] = ()


@dataclass(frozen=True, slots=True)
class Padding:
    """How inputs of unequal lengths become equally long without changing any answer.

    ``inputs`` maps each input that has the length to what fills it up, ``outputs`` names those that
    have it too and are cut back to it; ``axis`` is its dimension, the same one everywhere.
    """

    axis: int
    inputs: Mapping[str, float]
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of one model as the build side left it.

    ``max_batch_size`` is the most rows in one request; 0 means that a request is one inference as
    it stands, of a model without a batch or with one of a fixed size. ``batch_axes`` maps the
    inputs and outputs that have a batch to its dimension; None, in older manifests, is dimension 0
    of all of them. ``version`` is a positive integer as text. ``optimize_at_load`` is false where
    the graph was optimised when it was packed.
    ``version_labels`` are TensorFlow Serving's labels that point at this version. ``verified_on``
    maps an instruction set to the agreement measured on it, 1 where answers are those of the
    machine that compressed; ``not_verified_on`` maps the architecture's others to the reason.
    ``further_quality`` holds the verdicts on the gate's other metrics. ``max_joined_rows`` is how
    many rows of different requests may run together, where an answer depends on the rows beside it:
    as many as the gate judged; 0 where none does. ``judged_on`` is ``SAMPLES``, the user's,
    or ``GENERATED``.
    """

    name: str
    version: str
    opset: int
    recipe: str
    architecture: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: tuple[FileEntry, ...]
    source: Source
    quality: Quality
    measurements: Measurements
    max_batch_size: int = 0
    model_file: str = "model.onnx"
    optimize_at_load: bool = True
    platform: str = "onnxruntime_onnx"
    version_labels: tuple[str, ...] = ()
    session_options: Mapping[str, str] = field(default_factory=dict)
    verified_on: Mapping[str, float] = field(default_factory=dict)
    not_verified_on: Mapping[str, str] = field(default_factory=dict)
    further_quality: tuple[Quality, ...] = ()
    max_joined_rows: int = 0
    padding: Padding | None = None
    batch_axes: Mapping[str, int] | None = None
    judged_on: str = SAMPLES
    schema_version: int = SCHEMA_VERSION

    @property
    def size_bytes(self) -> int:
        """The size of all files together."""
        return sum(entry.size_bytes for entry in self.files)

    @property
    def rows_together(self) -> int:
        """How many rows of different requests may run as one inference; 0 where none may."""
        return min(self.max_batch_size, self.max_joined_rows or self.max_batch_size)

    def batch_axis(self, name: str) -> int | None:
        """The dimension of an input or output that counts the rows of a request; None where it has
        none.
        """
        if not self.max_batch_size:
            return None
        return 0 if self.batch_axes is None else self.batch_axes.get(name)

    def to_json(self) -> str:
        """Write the manifest as stable, indented JSON that ``from_json`` reads back unchanged."""
        return json.dumps(self, default=_plain, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Read a manifest; raises ``ArtifactCorrupt`` naming the key that is missing, unknown or of
        another type.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ArtifactCorrupt(f"{MANIFEST_NAME} is not JSON: {error}") from error
        found = data.get("schema_version") if isinstance(data, dict) else None
        if found != SCHEMA_VERSION:
            raise ArtifactCorrupt(
                f"{MANIFEST_NAME} has schema_version {found!r}, this onnxlift reads "
                f"{SCHEMA_VERSION}; compress again"
            )
        return _build(cls, data, MANIFEST_NAME)


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json`` in ``folder``; raises ``ArtifactMissing`` or ``ArtifactCorrupt``."""
    path = folder / MANIFEST_NAME
    try:
        return Manifest.from_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactMissing(
            f"{path} does not exist; run `onnxlift compress` to make it"
        ) from error


def read_manifests(root: Path) -> tuple[Manifest, ...]:
    """Read every ``<model>/<version>/manifest.json`` below ``root``, sorted by name and then by
    version number.

    Raises ``ArtifactMissing`` for a folder that this user may not read: ``glob`` would find nothing
    in it.
    """
    try:
        next(root.iterdir(), None)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ArtifactMissing(f"{root} cannot be read: {error.strerror}") from error
    folders = (path.parent for path in root.glob(f"*/*/{MANIFEST_NAME}"))
    return tuple(
        sorted(
            map(read_manifest, folders), key=lambda manifest: (manifest.name, int(manifest.version))
        )
    )


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Compare size and SHA-256 of every file the manifest names; raises ``ArtifactMissing`` or
    ``ArtifactCorrupt``.
    """
    for entry in manifest.files:
        path = folder / entry.path
        if not path.is_file():
            raise ArtifactMissing(f"{path} does not exist, its manifest names it; compress again")
        if path.stat().st_size != entry.size_bytes or file_sha256(path) != entry.sha256:
            raise ArtifactCorrupt(
                f"{path} is not the file that was compressed; compress again or deploy a fresh copy"
            )


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file as lower-case hexadecimal, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: Any) -> dict[str, Any]:
    """What JSON writes for a mapping that cannot change, or for a dataclass."""
    return (
        dict(value)
        if isinstance(value, Mapping)
        else {item.name: getattr(value, item.name) for item in fields(value)}
    )


def _build(cls: type[T], data: Any, where: str) -> T:
    """Make a frozen dataclass from parsed JSON, checking keys and types on the way down."""
    if not isinstance(data, dict):
        raise ArtifactCorrupt(f"{where}: expected an object, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(data) - set(known)):
        raise ArtifactCorrupt(f"{where}: unknown key {unknown[0]!r}")
    try:
        return cls(
            **{key: _convert(hints[key], value, f"{where}: {key}") for key, value in data.items()}
        )
    except TypeError as error:
        raise ArtifactCorrupt(f"{where}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return None if value is None else _convert(arguments[0], value, where)
    if is_dataclass(hint):
        return _build(typing.cast(type, hint), value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(
            _convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value)
        )
    if origin is Mapping and isinstance(value, dict):
        return types.MappingProxyType(
            {str(k): _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if (
        isinstance(hint, type)
        and isinstance(value, hint)
        and not (hint is int and isinstance(value, bool))
    ):
        return value
    expected = getattr(hint, "__name__", str(hint))
    raise ArtifactCorrupt(f"{where}: expected {expected}, got {type(value).__name__}")
