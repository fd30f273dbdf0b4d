"""``compress``: from a configured model to its artifact, or to the reason why there is none."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import onnx

from onnxlift.compress.artifact import file_entries, write_artifact
from onnxlift.compress.choice import Candidate, choose
from onnxlift.compress.measure import BATCH_SIZES, measure
from onnxlift.compress.quality import Judge
from onnxlift.compress.recipes import FP32, Recipe, recipe, recipes
from onnxlift.compress.samples import Samples, load_samples, require_disjoint
from onnxlift.compress.signature import Signature, read_signature, with_classes
from onnxlift.compress.source import SourceModel, opset, read_source
from onnxlift.compress.steps import Context
from onnxlift.compress.storage import save_model
from onnxlift.config import Config, Model
from onnxlift_runtime.errors import ConfigInvalid, RecipeInvalid
from onnxlift_runtime.manifest import Manifest, Measurements, Quality, Source
from onnxlift_runtime.session import Session

MODEL_FILE: Final = "model.onnx"
_NOT_MEASURED: Final = Measurements(0.0, 0.0, (), "", 0, "")
# Hears what is being done, and how many of how many parts are finished.
Progress: TypeAlias = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Outcome:
    """A written artifact: its folder and manifest, what the fp32 model costs, and every candidate with its reason."""

    folder: Path
    manifest: Manifest
    source: Measurements
    candidates: tuple[Candidate, ...]

    @property
    def kept_fp32(self) -> bool:
        """Whether the model ships as it came, because no recipe earned its place."""
        return self.manifest.recipe == FP32.name


@dataclass(frozen=True)
class _Bench:
    """Everything a candidate is made from and judged by; ``folder`` has one folder for each candidate."""

    model: Model
    source: SourceModel
    signature: Signature
    calibration: Samples | None
    judge: Judge
    draft: Manifest
    folder: Path


def compress(config: Config, name: str, progress: Progress, recipe_name: str | None = None) -> Outcome:
    """Try the recipes of one model, keep the smallest that passes the quality gate, and write its artifact.

    ``recipe_name`` overrides the configuration's. Raises ``ConfigInvalid``, ``ModelRefused``, ``SamplesInvalid``,
    ``RecipeInvalid``, ``QualityGateFailed`` or ``ArtifactError``; then nothing was written.
    """
    model = _configured(config, name)
    tried = _tried(recipe_name or model.recipe, model)
    total = len(tried) + 4
    with tempfile.TemporaryDirectory(prefix="onnxlift-") as scratch:
        progress("reading the model and its samples", 0, total)
        bench = _bench(config, name, Path(scratch))
        candidates = []
        for done, item in enumerate(tried):
            progress(f"trying {item.name}", done + 1, total)
            candidates.append(_attempt(bench, item))
        winner, explained = _chosen(candidates, recipe_name or model.recipe)
        progress("measuring the fp32 model", total - 3, total)
        before = _measured(bench, FP32.name)
        progress(f"measuring {winner.recipe}", total - 2, total)
        after = before if winner.recipe == FP32.name else _measured(bench, winner.recipe)
        progress("writing the artifact", total - 1, total)
        manifest = _manifest(bench, winner, before, after)
        target = config.artifact_folder(name)
        write_artifact(target, bench.folder / winner.recipe, manifest)
        progress("done", total, total)
    return Outcome(target, manifest, before, explained)


def _configured(config: Config, name: str) -> Model:
    if name not in config.models:
        raise ConfigInvalid(f"models.{name}: there is no such model; configured: {', '.join(sorted(config.models))}")
    return config.models[name]


def _tried(name: str, model: Model) -> tuple[Recipe, ...]:
    return recipes(model.architecture) if name == "auto" else (recipe(name, model.architecture),)


def _bench(config: Config, name: str, folder: Path) -> _Bench:
    """Read everything the model's configuration names, and let the fp32 model answer the held-out samples."""
    model = config.models[name]
    source = read_source(model.source)
    _save_fp32(source, folder / FP32.name)
    signature = read_signature(folder / FP32.name / MODEL_FILE)
    limit = model.quality
    held_out = load_samples(
        limit.samples, signature.inputs, labels=limit.labels if limit.metric == "accuracy" else None
    )
    calibration = None
    if model.calibration is not None:
        calibration = load_samples(model.calibration.samples, signature.inputs)
        require_disjoint(calibration, held_out, model.calibration.samples)
        calibration = calibration.limit(model.calibration.count)
    draft = _draft(name, model, source, signature)
    judge = Judge.of(limit, held_out, signature, _session(folder / FP32.name, draft))
    return _Bench(model, source, signature, calibration, judge, draft, folder)


def _save_fp32(source: SourceModel, folder: Path) -> None:
    """Put the fp32 model into ``folder``: its own bytes where they are one file, else all in one."""
    folder.mkdir(parents=True)
    if source.self_contained:
        (folder / MODEL_FILE).write_bytes(source.path.read_bytes())
    else:
        save_model(source.proto, folder / MODEL_FILE)


def _draft(name: str, model: Model, source: SourceModel, signature: Signature) -> Manifest:
    """The manifest without what only a finished candidate can tell."""
    outputs = with_classes(signature.outputs, _class_names(name, model), f"models.{name}.classes")
    return Manifest(
        name=name,
        version=str(model.version),
        opset=opset(source.proto),
        recipe="",
        architecture=model.architecture,
        inputs=signature.inputs,
        outputs=outputs,
        files=(),
        source=Source(source.sha256, source.size_bytes),
        quality=Quality(model.quality.metric, 0.0, 0.0, model.quality.max_drop, 0),
        measurements=_NOT_MEASURED,
        max_batch_size=signature.max_batch_size,
        model_file=MODEL_FILE,
        version_labels=model.version_labels,
    )


def _class_names(name: str, model: Model) -> tuple[str, ...]:
    """The configured class names, read from their file where one is named; raises ``ConfigInvalid``."""
    if not isinstance(model.classes, Path):
        return model.classes
    try:
        lines = model.classes.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"models.{name}.classes: {model.classes} cannot be read as text: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())


def _attempt(bench: _Bench, item: Recipe) -> Candidate:
    """Make and judge one candidate; whatever fails becomes its reason, so that the others go on."""
    folder = bench.folder / item.name
    try:
        if item.steps:
            _build(bench, item, folder)
        size_bytes = sum(entry.size_bytes for entry in file_entries(folder))
        return Candidate(item.name, size_bytes, bench.judge.measure(_session(folder, bench.draft)))
    except Exception as error:  # onnx, onnxruntime and numpy fail in their own ways on models nobody foresaw
        return Candidate(item.name, reason=" ".join(f"{_prefix(error)}{error}".split())[:300])


def _prefix(error: Exception) -> str:
    return "" if type(error).__module__.startswith("onnxlift") else f"{type(error).__name__}: "


def _build(bench: _Bench, item: Recipe, folder: Path) -> None:
    if item.needs_samples and bench.calibration is None:
        raise RecipeInvalid(f"it needs calibration samples; set models.{bench.draft.name}.calibration.samples")
    samples = bench.calibration.arrays if bench.calibration else {}
    changed = item.apply(bench.source.proto, Context(samples, bench.model.architecture))
    folder.mkdir()
    save_model(changed, folder / MODEL_FILE)
    if _names(read_signature(folder / MODEL_FILE)) != _names(bench.signature):
        raise RecipeInvalid("it changes the model's inputs or outputs")


def _names(signature: Signature) -> list[tuple[str, str]]:
    return [(spec.name, spec.datatype) for spec in (*signature.inputs, *signature.outputs)]


def _chosen(candidates: Sequence[Candidate], asked: str) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Choose; a recipe that was asked for by name and could not be applied at all is the user's mistake."""
    if asked != "auto" and candidates[0].quality is None:
        raise RecipeInvalid(f"recipe {asked!r} cannot be applied, nothing was written: {candidates[0].reason}")
    return choose(candidates)


def _measured(bench: _Bench, recipe_name: str) -> Measurements:
    batch = bench.signature.batch
    sizes = (batch,) if batch else BATCH_SIZES
    return measure(bench.folder / recipe_name, bench.draft, bench.judge.samples, sizes)


def _manifest(bench: _Bench, winner: Candidate, before: Measurements, after: Measurements) -> Manifest:
    assert winner.quality is not None
    folder = bench.folder / winner.recipe
    return replace(
        bench.draft,
        recipe=winner.recipe,
        opset=opset(onnx.load(folder / MODEL_FILE, load_external_data=False)),
        files=file_entries(folder),
        source=replace(bench.draft.source, latency=before.latency),
        quality=winner.quality,
        measurements=after,
    )


def _session(folder: Path, draft: Manifest) -> Session:
    return Session(folder, draft, threads=0, verify=False)
