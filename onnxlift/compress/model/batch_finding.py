"""Which dimension of each tensor is the batch, as the configuration or the model says; asked for
where neither does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Final

from onnxlift import config
from onnxlift.compress.model.batch import Batch, names_rows
from onnxlift.compress.model.batch_asked import configured_batch
from onnxlift.compress.model.batch_evidence import (
    Evidence,
    Found,
    gives,
    keeps_apart,
    named_alike,
    sources,
    tried,
)
from onnxlift.compress.model.batch_trial import Finding, Trial, from_samples
from onnxlift.compress.model.signature import Signature
from onnxlift_runtime.errors import ConfigInvalid, ModelRefused
from onnxlift_runtime.manifest import TensorSpec

__all__ = ["Evidence", "Found", "find_batch"]

_MOST_WAYS: Final = 32
_TRIES: Final = 2  # after the first that shows anything
_BAKED: Final = (2, 4, 8, 16, 32, 64)


def find_batch(asked: config.Model, evidence: Evidence) -> Found:
    """The batch of a model; raises ``ConfigInvalid`` that says what to write where the model leaves
    it open, and ``ModelRefused`` for an output of unknown rank.
    """
    if asked.batch == "none":
        found = _none(evidence, free=True)
    elif asked.batch_axis:
        found = configured_batch(asked.batch_axis, evidence)
    else:
        found = _proposed(evidence)
    return replace(found, signature=_ranked(found.signature, evidence))


def _none(evidence: Evidence, *, free: bool = False) -> Found:
    """No batch; a sample may leave out a first dimension that is called a batch, or any that is
    ``free``.
    """
    signature = evidence.signature
    single = frozenset(
        spec.name
        for spec in signature.inputs
        if spec.shape[:1] == (-1,) and (free or names_rows(signature.names[spec.name][0]))
    )
    return Found(Batch(single=single), signature)


def _proposed(evidence: Evidence) -> Found:
    single: Mapping[str, int] = {}
    for inputs, called in _ways(evidence):
        trial = _best(evidence, inputs)
        match trial.finding:
            case Finding.FOLLOWS:
                return Found(Batch({**inputs, **trial.axes}), evidence.signature)
            case Finding.MIXES if evidence.mixing:
                alike = named_alike(inputs, evidence.signature)
                return Found(Batch({**inputs, **alike}), evidence.signature)
            case Finding.MIXES if called:
                raise _asking(
                    evidence, inputs, "the answer to one row depends on the rows beside it"
                )
            case Finding.SINGLE:
                single = single or inputs
            case Finding.UNKNOWN if called:
                return _unknown(evidence, inputs)
            case Finding.APART if called:
                return _none(evidence)
    if single:
        return _baked(evidence, single, 1)
    return _fixed(evidence) or _none(evidence)


def _ways(evidence: Evidence) -> Iterator[tuple[dict[str, int], bool]]:
    """The axes that may be the batch of the inputs: those that are called so, with those that the
    samples leave out or that come first in other inputs; then those that are called so alone.
    """
    signature = evidence.signature
    called = _called(signature)
    options = [
        [called[spec.name]] if spec.name in called else _options(spec, evidence)
        for spec in signature.inputs
    ]
    ways = sorted(product(*options), key=_preference)
    for way in ways[:_MOST_WAYS]:
        pairs = zip(signature.inputs, way, strict=True)
        inputs = {spec.name: axis for spec, axis in pairs if axis is not None}
        if inputs and inputs != called:
            yield inputs, False
    if called:
        yield called, True


def _called(signature: Signature) -> dict[str, int]:
    """The axes of the inputs that are called a batch; short names such as N only where none is
    called so in full.
    """
    axes = [
        (spec.name, axis, name)
        for spec in signature.inputs
        for axis, name in reversed(list(enumerate(signature.names[spec.name])))
        if names_rows(name)
    ]
    full = any("batch" in name.lower() for _, _, name in axes)
    return {item: axis for item, axis, name in axes if "batch" in name.lower() or not full}


def _preference(way: tuple[int | None, ...]) -> list[int]:
    """Leading dimensions first, inputs without a batch last."""
    return [_MOST_WAYS if axis is None else axis for axis in way]


def _options(spec: TensorSpec, evidence: Evidence) -> list[int | None]:
    """The axes of an input that may be the batch where no name says so; None for no batch.

    Without samples only the first dimension may be.
    """
    free = [axis for axis, size in enumerate(spec.shape) if size == -1]
    if not evidence.stored:
        return [0] if free[:1] == [0] else [None]
    rows = from_samples(evidence.stored)
    fitting: list[int | None] = [axis for axis in free if gives(rows, spec, axis)]
    return [*fitting, None] if gives(rows, spec, None) or not fitting else fitting


def _best(evidence: Evidence, inputs: Mapping[str, int]) -> Trial:
    """What the runs show, those that mix rows first: one that does not may be chance."""
    found, left = Trial(Finding.UNKNOWN, {}, {}), _TRIES
    for source in sources(evidence):
        trial = tried(evidence, inputs, source)
        known = found.finding is not Finding.UNKNOWN
        left -= known
        if trial is not None and trial.finding is Finding.MIXES:
            return trial
        if trial is not None and trial.finding is not Finding.UNKNOWN:
            found = _weaker(found, trial) if known else trial
        if not left:
            break
    return _with_names(evidence, inputs, found) if evidence.selecting else found


def _weaker(first: Trial, second: Trial) -> Trial:
    """Only what both runs show."""
    axes = dict(first.axes.items() & second.axes.items())
    if Finding.SINGLE in (first.finding, second.finding):
        return first if first.finding is Finding.SINGLE else second
    return replace(first, axes=axes, finding=Finding.FOLLOWS if axes else Finding.APART)


def _with_names(evidence: Evidence, inputs: Mapping[str, int], trial: Trial) -> Trial:
    """Where values decide how many rows come out, as many as went in may be chance: names must say
    it too.
    """
    alike = named_alike(inputs, evidence.signature)
    axes = {name: axis for name, axis in trial.axes.items() if alike.get(name) == axis}
    apart = trial.finding is Finding.FOLLOWS and not axes
    return replace(trial, axes=axes, finding=Finding.APART if apart else trial.finding)


def _unknown(evidence: Evidence, inputs: Mapping[str, int]) -> Found:
    """Nothing runs: a batch only where the outputs are called so as well, or several rows of a
    Reshape are.
    """
    for rows in _BAKED:
        narrowed = _baked(evidence, inputs, rows)
        for source in sources(replace(evidence, signature=narrowed.signature)):
            found = keeps_apart(inputs, rows, source, evidence)
            if found:
                return Found(Batch({**inputs, **found}, rows), narrowed.signature)
            if found is not None:
                return Found(Batch(), narrowed.signature)
    alike = named_alike(inputs, evidence.signature)
    if alike:
        return Found(Batch({**inputs, **alike}), evidence.signature)
    raise _asking(evidence, inputs, "the model could not be tried")


def _baked(evidence: Evidence, inputs: Mapping[str, int], rows: int) -> Found:
    """The signature with the one number of rows that the model takes."""
    signature = evidence.signature
    outputs = named_alike(inputs, signature)
    axes = {**inputs, **outputs}
    specs = {
        spec.name: replace(
            spec,
            shape=tuple(rows if axis == axes[spec.name] else size
                        for axis, size in enumerate(spec.shape)),
        )
        for spec in (*signature.inputs, *signature.outputs)
        if spec.name in axes
    }  # fmt: skip
    narrowed = replace(
        signature,
        inputs=tuple(specs.get(spec.name, spec) for spec in signature.inputs),
        outputs=tuple(specs.get(spec.name, spec) for spec in signature.outputs),
    )
    return Found(Batch(), narrowed)


def _fixed(evidence: Evidence) -> Found | None:
    """A first dimension of one fixed size everywhere, where its rows do not touch each other."""
    signature = evidence.signature
    sizes = {spec.shape[0] for spec in signature.inputs if spec.shape}
    if len(sizes) != 1 or (rows := sizes.pop()) < 2:
        return None
    inputs = {spec.name: 0 for spec in signature.inputs if spec.shape}
    if not _are_rows(evidence, inputs):
        return None
    for source in sources(evidence):
        found = keeps_apart(inputs, rows, source, evidence)
        if found and signature.outputs[0].name in found:
            return Found(Batch({**inputs, **found}, rows), signature)
        if found is None and evidence.stored:
            raise _asking(
                evidence, inputs, f"its {rows} rows depend on each other, or cannot be tried"
            )
        return None
    return None


def _are_rows(evidence: Evidence, inputs: Mapping[str, int]) -> bool:
    """Whether the samples are rows and not whole arrays; without samples, that is to be tried."""
    if not evidence.stored:
        return True
    rows = from_samples(evidence.stored)
    specs = {spec.name: spec for spec in evidence.signature.inputs}
    return all(gives(rows, specs[name], axis) for name, axis in inputs.items())


def _asking(evidence: Evidence, inputs: Mapping[str, int], why: str) -> ConfigInvalid:
    signature = evidence.signature
    listed = ", ".join(f"{name!r} dimension {axis}" for name, axis in inputs.items())
    axes = ", ".join(
        f"{spec.name} = {inputs[spec.name] if spec.name in inputs else chr(34) + 'none' + chr(34)}"
        for spec in signature.inputs
    )
    return ConfigInvalid(
        f"{evidence.where}: it is not clear whether {listed} counts the rows of a batch: {why}. "
        f'Write batch_axis = {{{axes}}} in [{evidence.where}] if it does, batch = "none" if not'
    )


def _ranked(signature: Signature, evidence: Evidence) -> Signature:
    """Give outputs of unknown rank the number of dimensions that they had in a run."""
    if not signature.unranked:
        return signature
    ranks: Mapping[str, int] = {}
    for source in sources(evidence):
        trial = tried(evidence, {}, source) or tried(evidence, _firsts(signature), source)
        if trial is not None and trial.ranks:
            ranks = trial.ranks
            break
    if missing := sorted(signature.unranked - set(ranks)):
        raise ModelRefused(
            f"output {missing[0]!r} does not say how many dimensions it has, and the model could "
            f"not be tried; export it with the shapes of its outputs"
        )
    outputs = tuple(
        replace(spec, shape=(-1,) * ranks[spec.name]) if spec.name in signature.unranked else spec
        for spec in signature.outputs
    )
    return replace(signature, outputs=outputs, unranked=frozenset())


def _firsts(signature: Signature) -> dict[str, int]:
    return {spec.name: 0 for spec in signature.inputs if spec.shape[:1] == (-1,)}
