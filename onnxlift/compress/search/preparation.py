"""What a search starts from: the checked model, its samples, the fp32 model's answers, and where
all of it lies.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onnxlift.compress.gate.judgement import Gate, require_numbers
from onnxlift.compress.model.padding import padding_of, require_harmless
from onnxlift.compress.model.reading import SourceModel, opset, read_source
from onnxlift.compress.model.samples import Samples, load_samples, require_disjoint
from onnxlift.compress.model.signature import Signature, read_signature, with_classes
from onnxlift.compress.model.writing import save_model
from onnxlift.compress.recipes.recipe import FP32
from onnxlift.compress.search.instruction_sets import find_targets, working
from onnxlift.compress.search.run import Bench
from onnxlift.compress.search.trial_pool import Trial, TrialSetup, run_trials
from onnxlift.compress.search.workspace import Workspace, open_workspace, samples_digest, search_key
from onnxlift.config import Config, Model
from onnxlift_runtime.errors import ConfigInvalid, ModelRefused, QualityGateFailed, SamplesInvalid
from onnxlift_runtime.manifest import Manifest, Measurements, Quality, Source

MODEL_FILE: Final = "model.onnx"
_NO_GPU: Final = {"gpu": "the quality gate ran on this machine's CPU"}
_NOT_MEASURED: Final = Measurements(0.0, 0.0, (), "", 0, "")


@dataclass(frozen=True)
class Prepared:
    """One model's bench, and what the user configured."""

    model: Model
    source: SourceModel
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
    signature = read_signature(model.source)
    held_out, calibration = _samples(model, signature)
    draft = _draft(name, model, source, signature)
    require_harmless(model.source, draft, held_out, f"models.{name}.padding")
    quality = model.quality
    batches = (
        (signature.batch,) if signature.batch else tuple(dict.fromkeys((1, quality.batch_size)))
    )
    digests = samples_digest(held_out), samples_digest(calibration)
    key = search_key(source.sha256, *digests, batches, draft.inputs, draft.outputs, model.preset)
    with open_workspace(config.cache, name, key) as workspace:
        _fill(workspace, source, held_out, calibration)
        setup = TrialSetup(
            workspace, draft, draft.outputs[0].name, batches, source.size_bytes, model.preset
        )
        fp32 = _answered(setup, quality.samples)
        references = {rows: fp32.answers(rows) for rows in batches}
        gate = Gate.of(quality, setup.output, references, held_out.labels)
        targets, missing = find_targets(
            model.targets, [spec.datatype for spec in (*draft.inputs, *draft.outputs)]
        )
        targets, failing = working(targets, setup, fp32, held_out)
        missing = {**missing, **failing, **(_NO_GPU if model.preset == "gpu" else {})}
        yield Prepared(
            model,
            source,
            calibration,
            Bench(setup, fp32, gate, held_out, targets, missing, deadline),
        )


def _samples(model: Model, signature: Signature) -> tuple[Samples, Samples | None]:
    """Held-out and calibration samples, known to share none."""
    quality = model.quality
    needs_labels = {"accuracy", "f1"} & {limit.metric for limit in quality.limits}
    held_out = load_samples(
        quality.samples, signature.inputs, labels=quality.labels if needs_labels else None
    )
    held_out = _whole_batches(held_out, signature.batch)
    if model.calibration is None:
        return held_out, None
    calibration = load_samples(model.calibration.samples, signature.inputs)
    require_disjoint(calibration, held_out, model.calibration.samples)
    return held_out, calibration.limit(model.calibration.count)


def _whole_batches(samples: Samples, batch: int) -> Samples:
    if not batch:
        return samples
    whole = len(samples) // batch * batch
    if not whole:
        raise SamplesInvalid(f"the model takes {batch} samples at a time, there are {len(samples)}")
    return samples.take(range(whole))


def _fill(
    workspace: Workspace, source: SourceModel, held_out: Samples, calibration: Samples | None
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


def _draft(name: str, model: Model, source: SourceModel, signature: Signature) -> Manifest:
    """The manifest without what only a finished candidate can tell."""
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
        quality=Quality(model.quality.metric, 0.0, 0.0, model.quality.allowed_loss, 0),
        measurements=_NOT_MEASURED,
        max_batch_size=signature.max_batch_size,
        model_file=MODEL_FILE,
        version_labels=model.version_labels,
        padding=padding_of(model.padding, signature, f"models.{name}.padding"),
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
