"""One model version, opened and run by onnxruntime."""

import contextlib
import ctypes
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from onnxlift_runtime.dataplane.values import (
    from_native,
    from_value,
    to_feed,
    to_native,
    to_value,
)
from onnxlift_runtime.errors import (
    ArtifactCorrupt,
    DeviceMissing,
    InferenceFailed,
    InputMismatch,
    MemoryExhausted,
    ModelTooLarge,
    OnnxliftError,
)
from onnxlift_runtime.manifest import Manifest, verify_files
from onnxlift_runtime.tensors.arrays import Array
from onnxlift_runtime.tensors.datatypes import datatype

_ERRORS_ONLY: Final = 3
_STATE: Final = ort.capi.onnxruntime_pybind11_state
# What onnxruntime raises where an input that fits its declaration breaks a rule inside the graph:
# an index out of range, or two variable dimensions that do not go together. A failed allocation
# comes as the same class.
_INVALID_INPUT: Final = (_STATE.InvalidArgument, _STATE.Fail, ValueError)
# onnxruntime's arena, with and without a limit of its own; CUDA itself; cuBLAS and cuDNN; the C++
# library.
_NO_MEMORY: Final = re.compile(
    r"Failed to allocate memory|is smaller than requested bytes|CUDA (failure|error) 2\b|out of "
    r"memory"
    r"|_STATUS_(INTERNAL_ERROR_DEVICE_)?ALLOC(ATION)?_FAILED|bad_alloc|bad allocation",
    re.IGNORECASE,
)
# After these a process gets no answer from the device any more: CUDA's runtime, "Data types",
# cudaError.
_LOST: Final = re.compile(
    r"CUDA (?:failure|error) (?:46|100|101|214|70[0-2]|71[0-9]|999)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Device:
    """Where models run: onnxruntime's providers with their options, the preferred first.

    ``memory`` is its name for the memory that they compute in. ``bound``: inputs and outputs are
    bound to that memory, so that each is copied once; for text, which a device has no memory for,
    it makes no difference.
    """

    name: str
    providers: tuple[tuple[str, Mapping[str, str]], ...]
    memory: str = "cpu"
    bound: bool = False


CPU: Final = Device("cpu", (("CPUExecutionProvider", {}),))


class Session:
    """One model version ready to run; safe to use from several threads."""

    def __init__(
        self, folder: Path, manifest: Manifest, *, threads: int, verify: bool, device: Device = CPU
    ) -> None:
        """Open the artifact in ``folder``; raises ``ArtifactError`` or ``DeviceMissing``."""
        if verify:
            verify_files(folder, manifest)
        self.manifest = manifest
        self._session = _open(
            folder / manifest.model_file, manifest, threads or processor_count(), device
        )
        self._memory = device.memory
        self._inputs = {spec.name: spec for spec in manifest.inputs}
        self._outputs = {spec.name: spec for spec in manifest.outputs}
        self._through_values = any(spec.datatype == "BF16" for spec in manifest.outputs)
        text = any(spec.datatype == "BYTES" for spec in (*manifest.inputs, *manifest.outputs))
        self._bound = device.bound and not text

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run once; arrays as ``tensors`` describes them.

        Raises ``InputMismatch`` where the graph refuses the input's values, ``DeviceMissing`` where
        the device broke, ``MemoryExhausted`` and ``InferenceFailed``.
        """
        native = {name: to_native(array, self._inputs[name]) for name, array in feeds.items()}
        try:
            results = self._run(native, outputs)
        except Exception as error:  # onnxruntime's errors share no base class below Exception
            raise _translate(error, self.manifest.name) from error
        return {
            name: from_native(result, self._outputs[name])
            for name, result in zip(outputs, results, strict=True)
        }

    def _run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        if self._bound:
            try:
                return self._run_bound(feeds, outputs)
            except RuntimeError as error:
                # A bound run tells every error as this one class; only an ordinary run tells whose
                # it is.
                if _NO_MEMORY.search(str(error)) or _LOST.search(str(error)):
                    raise
        return (
            self._run_values(feeds, outputs)
            if self._through_values
            else self._run_arrays(feeds, outputs)
        )

    def _run_bound(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Inputs go to where their first node computes, outputs stay on the device until they are
        copied out.
        """
        binding = self._session.io_binding()
        # A value on the CPU is the array's own memory, so all of them are kept until the run is
        # over.
        values = {
            name: to_value(np.require(array, requirements="C"), self._inputs[name])
            for name, array in feeds.items()
        }
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        for name in outputs:
            # BF16 is read from memory, which has to be the CPU's.
            binding.bind_output(
                name, "cpu" if self._outputs[name].datatype == "BF16" else self._memory
            )
        self._session.run_with_iobinding(binding)
        return [from_value(value) for value in binding.get_outputs()]

    def _run_arrays(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        values = {name: to_feed(array, self._inputs[name]) for name, array in feeds.items()}
        results: list[Array] = self._session.run(list(outputs), values)
        return results

    def _run_values(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run through OrtValues, ten times slower than arrays, text excepted, and the only way to
        get BF16 back.
        """
        values = {name: to_value(array, self._inputs[name]) for name, array in feeds.items()}
        return [
            from_value(value) for value in self._session.run_with_ort_values(list(outputs), values)
        ]


def processor_count() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device_obstacle(memory: str) -> str:
    """Why nothing can be computed on the devices that have this memory, ``cuda`` for one; empty
    where it can.
    """
    told = io.StringIO()
    with contextlib.redirect_stdout(told):  # it prints which libraries it does not find
        ort.preload_dlls()
    try:
        ort.OrtValue.ortvalue_from_numpy(np.zeros(1, np.float32), memory, 0)
    except Exception as error:  # onnxruntime's errors share no base class below Exception
        return " ".join(f"{error} {told.getvalue()}".split())
    return ""


def has_provider(name: str) -> bool:
    """Whether this onnxruntime brings the library of a provider, and everything that the library
    needs is there.
    """
    if name not in ort.get_available_providers():
        return False
    short = name.removesuffix("ExecutionProvider").lower()
    try:
        ctypes.CDLL(str(Path(ort.capi.__file__).parent / f"libonnxruntime_providers_{short}.so"))
    except OSError:
        return False
    return True


def _open(path: Path, manifest: Manifest, threads: int, device: Device) -> Any:
    providers = [(name, dict(options)) for name, options in device.providers]
    try:
        # Without its fallback, which would go on with the CPU and say so on standard output alone.
        session = ort.InferenceSession(
            str(path), _options(manifest, threads), providers, enable_fallback=0
        )
        _check_signature(session, manifest)
    except Exception as error:  # onnxruntime's errors share no base class below Exception
        told = str(error)
        if _LOST.search(told):
            raise DeviceMissing(f"the device broke while {path} was opened: {told}") from error
        if _NO_MEMORY.search(told):
            raise ModelTooLarge(
                f"{path} does not fit the memory of the {device.name} device: {told}"
            ) from error
        raise ArtifactCorrupt(f"{path} cannot be opened: {told}") from error
    if (used := session.get_providers())[0] != providers[0][0]:
        raise DeviceMissing(
            f"{path} should run on {providers[0][0]}, onnxruntime has only {', '.join(used)} for it"
        )
    return session


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
    """A manifest of another model would blame every caller for what only a fresh artifact can
    mend.
    """
    pairs = ((session.get_inputs(), manifest.inputs), (session.get_outputs(), manifest.outputs))
    for found, specs in pairs:
        has = {item.name: item.type for item in found}
        told = {spec.name: datatype(spec.datatype).onnx for spec in specs}
        if has != told:
            raise ArtifactCorrupt(f"the model has {has}, its manifest says {told}; compress again")


def _translate(error: Exception, model: str) -> OnnxliftError:
    """The caller's error where the graph refuses the values it was given, else the model's."""
    told = " ".join(str(error).split())[:500]
    if _LOST.search(told):
        return DeviceMissing(f"the device broke while model {model!r} ran: {told}")
    if _NO_MEMORY.search(told):
        return MemoryExhausted(f"model {model!r} failed: {told}")
    if isinstance(error, _INVALID_INPUT):
        return InputMismatch(f"model {model!r} refuses this input: {told}")
    return InferenceFailed(f"model {model!r} failed: {told}")
