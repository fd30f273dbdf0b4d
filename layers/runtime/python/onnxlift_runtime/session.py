"""The only module that imports onnxruntime: one model version, opened and run."""

import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from onnxlift_runtime.datatypes import datatype
from onnxlift_runtime.errors import ArtifactCorrupt, DatatypeMismatch, InferenceFailed, InputMismatch, OnnxliftError
from onnxlift_runtime.manifest import Manifest, TensorSpec, verify_files
from onnxlift_runtime.tensors import Array

_BFLOAT16: Final = 16  # TensorProto.BFLOAT16, named by number so that the onnx package is not needed
_ERRORS_ONLY: Final = 3
_STATE: Final = ort.capi.onnxruntime_pybind11_state
# What onnxruntime raises where an input that fits its declaration breaks a rule inside the graph: an index out of
# range, or two variable dimensions that do not go together. A failed allocation comes as the same class.
_INVALID_INPUT: Final = (_STATE.InvalidArgument, _STATE.Fail, ValueError)
_NO_MEMORY: Final = "Failed to allocate memory"


class Session:
    """One model version ready to run; safe to use from several threads."""

    def __init__(self, folder: Path, manifest: Manifest, *, threads: int, verify: bool) -> None:
        """Open the artifact in ``folder``; raises ``ArtifactMissing`` or ``ArtifactCorrupt``."""
        if verify:
            verify_files(folder, manifest)
        self.manifest = manifest
        try:
            self._session = ort.InferenceSession(
                str(folder / manifest.model_file),
                _options(manifest, threads or processor_count()),
                providers=["CPUExecutionProvider"],
            )
            _check_signature(self._session, manifest)
        except Exception as error:  # onnxruntime's errors share no base class below Exception
            raise ArtifactCorrupt(f"{folder / manifest.model_file} cannot be opened: {error}") from error
        self._inputs = {spec.name: spec for spec in manifest.inputs}
        self._outputs = {spec.name: spec for spec in manifest.outputs}
        self._through_values = any(spec.datatype == "BF16" for spec in manifest.outputs)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run once; arrays as ``tensors`` describes them.

        Raises ``InputMismatch`` where the graph refuses the input's values, and ``InferenceFailed``.
        """
        native = {name: _to_native(array, self._inputs[name]) for name, array in feeds.items()}
        try:
            results = self._run_values(native, outputs) if self._through_values else self._run_arrays(native, outputs)
        except Exception as error:  # onnxruntime's errors share no base class below Exception
            raise _translate(error, self.manifest.name) from error
        return {name: _from_native(result, self._outputs[name]) for name, result in zip(outputs, results, strict=True)}

    def _run_arrays(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        values = {name: _to_feed(array, self._inputs[name]) for name, array in feeds.items()}
        results: list[Array] = self._session.run(list(outputs), values)
        return results

    def _run_values(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run through OrtValues, ten times slower than arrays, text excepted, and the only way to get BF16 back."""
        values = {name: _to_value(array, self._inputs[name]) for name, array in feeds.items()}
        return [_from_value(value) for value in self._session.run_with_ort_values(list(outputs), values)]


def processor_count() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _options(manifest: Manifest, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # A spinning thread burns the processor share that Lambda meters.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not manifest.optimize_at_load:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for key, value in manifest.session_options.items():
        options.add_session_config_entry(key, value)
    return options


def _check_signature(session: Any, manifest: Manifest) -> None:
    """A manifest of another model would blame every caller for what only a fresh artifact can mend."""
    pairs = ((session.get_inputs(), manifest.inputs), (session.get_outputs(), manifest.outputs))
    for found, specs in pairs:
        has = {item.name: item.type for item in found}
        told = {spec.name: datatype(spec.datatype).onnx for spec in specs}
        if has != told:
            raise ArtifactCorrupt(f"the model has {has}, its manifest says {told}; compress again")


def _to_native(array: Array, spec: TensorSpec) -> Array:
    """BYTES become text, which is what onnxruntime's strings are; it would otherwise print the Python bytes."""
    if spec.datatype != "BYTES":
        return array
    native = np.empty(array.shape, dtype=object)
    try:
        for place, item in np.ndenumerate(array):
            native[place] = item.decode()
    except UnicodeDecodeError as error:
        raise DatatypeMismatch(f"input {spec.name!r} has bytes that are not UTF-8, which ONNX strings are") from error
    return native


def _from_native(result: Array, spec: TensorSpec) -> Array:
    if spec.datatype != "BYTES":
        return np.asarray(result)
    array = np.empty(result.shape, dtype=object)
    for place, item in np.ndenumerate(result):
        array[place] = str(item).encode()
    return array


def _to_feed(array: Array, spec: TensorSpec) -> Any:
    """An array as it is; BF16, which numpy does not know, as an OrtValue."""
    if spec.datatype != "BF16":
        return array
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.require(array, requirements="C"), _BFLOAT16)


def _to_value(array: Array, spec: TensorSpec) -> Any:
    feed = _to_feed(array, spec)
    return ort.OrtValue.ortvalue_from_numpy(feed) if feed is array else feed


def _from_value(value: Any) -> Array:
    """Copy an OrtValue out; BF16 has no numpy type, so its bits are read from memory."""
    if value.data_type() != "tensor(bfloat16)":
        array: Array = value.numpy()
        return array
    shape = tuple(value.shape())
    size_bytes = 2 * int(np.prod(shape, dtype=np.int64))
    bits = ctypes.string_at(value.data_ptr(), size_bytes) if size_bytes else b""
    return np.frombuffer(bits, dtype=np.uint16).reshape(shape)


def _translate(error: Exception, model: str) -> OnnxliftError:
    """The caller's error where the graph refuses the values it was given, else the model's."""
    told = " ".join(str(error).split())[:500]
    if isinstance(error, _INVALID_INPUT) and _NO_MEMORY not in told:
        return InputMismatch(f"model {model!r} refuses this input: {told}")
    return InferenceFailed(f"model {model!r} failed: {told}")
