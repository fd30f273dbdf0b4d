"""The batch that the configuration names, checked against the model."""

from collections.abc import Mapping

from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.batch_evidence import (
    Evidence,
    Found,
    keeps_apart,
    named_alike,
    sources,
    tried,
)
from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.manifest import TensorSpec


def configured_batch(asked: Mapping[str, int | str], evidence: Evidence) -> Found:
    """The batch of ``batch_axis``; outputs that it does not name follow the inputs. Raises
    ``ConfigInvalid`` where it does not fit the model.
    """
    where = f"{evidence.where}.batch_axis"
    signature = evidence.signature
    specs = {spec.name: spec for spec in (*signature.inputs, *signature.outputs)}
    if unknown := [name for name in asked if name not in specs]:
        raise ConfigInvalid(
            f"{where}: the model has no {unknown[0]!r}; it has {', '.join(map(repr, specs))}"
        )
    if missing := [spec.name for spec in signature.inputs if spec.name not in asked]:
        raise ConfigInvalid(
            f"{where}: input {missing[0]!r} is missing; give its dimension that is the batch, or "
            f'"none"'
        )
    axes = {name: axis for name, axis in asked.items() if isinstance(axis, int)}
    for name, axis in axes.items():
        if axis >= len(specs[name].shape) and name not in signature.unranked:
            raise ConfigInvalid(
                f"{where}.{name}: {axis} is not a dimension of {list(specs[name].shape)}"
            )
    inputs = {spec.name: axes[spec.name] for spec in signature.inputs if spec.name in axes}
    rows = _fixed_rows(inputs, specs, where)
    outputs = {name: axis for name, axis in axes.items() if name not in inputs}
    left = {spec.name for spec in signature.outputs} - set(asked)
    if left:
        seen = _following(inputs, rows, evidence)
        outputs |= {name: axis for name, axis in seen.items() if name in left}
    return Found(Batch({**inputs, **outputs}, rows), signature)


def _fixed_rows(inputs: Mapping[str, int], specs: Mapping[str, TensorSpec], where: str) -> int:
    """The number of rows that the model fixes, 0 where none does."""
    sizes = {name: specs[name].shape[axis] for name, axis in inputs.items()}
    if not sizes:
        raise ConfigInvalid(f'{where}: no input has a batch; write batch = "none" instead')
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name!r} {size}" for name, size in sizes.items())
        raise ConfigInvalid(
            f"{where}: the batch must have one size in all inputs, it has {listed}, where -1 is any"
        )
    return max(0, *sizes.values())


def _following(inputs: Mapping[str, int], rows: int, evidence: Evidence) -> Mapping[str, int]:
    """The outputs that follow the rows of a configured batch; by their names where nothing runs."""
    for source in sources(evidence):
        if rows:
            found = keeps_apart(inputs, rows, source, evidence)
            if found is not None:
                return found
            continue
        trial = tried(evidence, inputs, source)
        if trial is not None and trial.axes:
            return trial.axes
    return named_alike(inputs, evidence.signature)
