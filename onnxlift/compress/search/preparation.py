"""What a search starts from: the checked model, its samples, the fp32 model's answers, and where
all of it lies.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx

from onnxlift.compress.gate.judgement import require_numbers
from onnxlift.compress.gate.premises import random_nodes, require_steady
from onnxlift.compress.graph.normalization import normalize
from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.batch_evidence import Evidence, Found, evidence_of
from onnxlift.compress.model.batch_finding import find_batch
from onnxlift.compress.model.padding import padding_of, require_harmless
from onnxlift.compress.model.reading import SourceModel, opset, read_source
from onnxlift.compress.model.samples import Samples
from onnxlift.compress.model.signature import with_classes
from onnxlift.compress.model.writing import save_model
from onnxlift.compress.recipes.recipe import FP32
from onnxlift.compress.search.instruction_sets import Target, find_targets, working
from onnxlift.compress.search.judging import (
    calibration_samples,
    class_labels,
    fitting_conditions,
    held_out_samples,
    judged_output,
    make_gate,
)
from onnxlift.compress.search.run import Bench
from onnxlift.compress.search.trial_pool import Trial, TrialSetup, run_trials
from onnxlift.compress.search.workspace import Workspace, open_workspace, samples_digest, search_key
from onnxlift.config import Config, Model
from onnxlift_runtime.errors import ConfigInvalid, ModelRefused, QualityGateFailed, SamplesInvalid
from onnxlift_runtime.manifest import GENERATED, SAMPLES, Manifest, Measurements, Source
from onnxlift_runtime.manifest import Quality as Verdict

MODEL_FILE: Final = "model.onnx"
_NO_GPU: Final = {"gpu": "the quality gate ran on this machine's CPU"}
_NOT_MEASURED: Final = Measurements(0.0, 0.0, (), "", 0, "")


@dataclass(frozen=True)
class Prepared:
    """One model's bench, and what the user configured; recipes start from ``graph``."""

    model: Model
    source: SourceModel
    graph: onnx.ModelProto
    calibration: Samples | None
    bench: Bench


@contextlib.contextmanager
def prepare(config: Config, name: str, deadline: float) -> Iterator[Prepared]:
    """Read everything the model's configuration names, and let the fp32 model answer the held-out
    samples.

    Raises ``ConfigInvalid``, ``ModelRefused`` or ``SamplesInvalid``.
    """
    model = config.models[name]
    source = read_source(model.source)
    evidence = evidence_of(name, source, model.quality.samples)
    found = _find_batch(model, source, evidence)
    signature, batch = found.signature, found.batch
    held_out = held_out_samples(model.quality, source, evidence.session, found)
    calibration = calibration_samples(model, signature, batch, held_out)
    draft = _draft(name, model, source, found)
    require_harmless(model.source, draft, held_out, f"models.{name}.padding")
    judged = judged_output(model.quality, draft, name)
    quality = fitting_conditions(model.quality, judged)
    origin = quality.samples or Path(GENERATED)
    batches = _batches(batch, judged.name, quality.batch_size)
    digests = source.sha256, samples_digest(held_out), samples_digest(calibration)
    signatures = draft.inputs, draft.outputs, sorted(batch.axes.items()), judged.name
    key = search_key(*digests, *signatures, batches, model.preset)
    with open_workspace(config.cache, name, key) as workspace:
        graph = normalize(source.proto)
        _fill(workspace, source, graph, held_out, calibration)
        setup = TrialSetup(workspace, draft, judged.name, batches, source.size_bytes, model.preset)
        fp32 = _answered(setup, origin)
        require_steady(source.proto, fp32.unsteady)
        references = {rows: fp32.answers(rows) for rows in batches}
        labels = class_labels(judged, held_out, origin)
        gate = make_gate(quality, setup.output, references, labels)
        targets, missing = _targets(model, setup, fp32, held_out)
        yield Prepared(
            model,
            source,
            graph,
            calibration,
            Bench(setup, fp32, gate, held_out, targets, missing, deadline),
        )


def _targets(
    model: Model, setup: TrialSetup, fp32: Trial, held_out: Samples
) -> tuple[tuple[Target, ...], dict[str, str]]:
    """The other instruction sets on which the fp32 model answers, and why the rest cannot be
    reached.
    """
    specs = (*setup.draft.inputs, *setup.draft.outputs)
    targets, missing = find_targets(model.targets, [spec.datatype for spec in specs])
    targets, failing = working(targets, setup, fp32, held_out)
    return targets, {**missing, **failing, **(_NO_GPU if model.preset == "gpu" else {})}


def _find_batch(model: Model, source: SourceModel, evidence: Evidence) -> Found:
    """The model's signature and batch, from what is configured and from runs on its samples."""
    try:
        return find_batch(model, evidence)
    except ConfigInvalid:
        # Rows of a model that draws numbers seem to depend on each other.
        if random_nodes(source.proto):
            require_steady(source.proto, [spec.name for spec in evidence.signature.outputs])
        raise


def _batches(batch: Batch, output: str, batch_size: int) -> tuple[int, ...]:
    """The numbers of samples that are answered at a time; one where rows cannot be separated."""
    if batch.rows:
        return (batch.rows,)
    return (1,) if batch.axis(output) is None else tuple(dict.fromkeys((1, batch_size)))


def _fill(
    workspace: Workspace,
    source: SourceModel,
    graph: onnx.ModelProto,
    held_out: Samples,
    calibration: Samples | None,
) -> None:
    """Put model and samples where the processes of the candidates find them; what is there is the
    same by its key.
    """
    if (done := workspace.folder / "filled").exists():
        return
    workspace.fp32.mkdir(exist_ok=True)
    if source.self_contained:
        (workspace.fp32 / MODEL_FILE).write_bytes(source.path.read_bytes())
    else:
        save_model(source.proto, workspace.fp32 / MODEL_FILE)
    if graph is not source.proto:
        workspace.normalized.mkdir(exist_ok=True)
        save_model(graph, workspace.normalized / MODEL_FILE)
    held_out.store(workspace.held_out)
    if calibration is not None:
        calibration.store(workspace.calibration)
    done.touch()


def _answered(setup: TrialSetup, samples: Path) -> Trial:
    """The fp32 model's trial; raises ``SamplesInvalid`` or ``ModelRefused`` where there are no
    answers to compare.
    """
    trial = run_trials(setup, [FP32])[FP32.name]
    if trial.reason:
        raise SamplesInvalid(f"{samples}: the model cannot run on these samples: {trial.reason}")
    try:
        for rows in setup.batches:
            require_numbers(trial.answers(rows)[setup.output], setup.output)
    except QualityGateFailed as error:
        raise ModelRefused(
            f"the fp32 model's output {setup.output!r} is NaN on some of {samples}"
        ) from error
    return trial


def _draft(name: str, model: Model, source: SourceModel, found: Found) -> Manifest:
    """The manifest without what only a finished candidate can tell."""
    signature, batch = found.signature, found.batch
    return Manifest(
        name=name,
        version=str(model.version),
        opset=opset(source.proto),
        recipe="",
        architecture=model.architecture,
        inputs=signature.inputs,
        outputs=with_classes(
            signature.outputs, _class_names(name, model), f"models.{name}.classes"
        ),
        files=(),
        source=Source(source.sha256, source.size_bytes),
        quality=Verdict(model.quality.metric, 0.0, 0.0, model.quality.allowed_loss, 0),
        measurements=_NOT_MEASURED,
        max_batch_size=batch.max_batch_size,
        batch_axes=dict(batch.axes),
        model_file=MODEL_FILE,
        judged_on=SAMPLES if model.quality.samples else GENERATED,
        version_labels=model.version_labels,
        padding=padding_of(model.padding, signature, batch, f"models.{name}.padding"),
    )


def _class_names(name: str, model: Model) -> tuple[str, ...]:
    """The configured class names, read from their file where one is named; raises
    ``ConfigInvalid``.
    """
    if not isinstance(model.classes, Path):
        return model.classes
    try:
        lines = model.classes.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigInvalid(
            f"models.{name}.classes: {model.classes} cannot be read as text: {why}"
        ) from error
    return tuple(line.strip() for line in lines if line.strip())
