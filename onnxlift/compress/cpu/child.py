"""Run as a script by another Python, perhaps of another CPU.

``child.py MODEL FEEDS.npz OUTPUTS.npz OPTIMIZE [KEY=VALUE...]``

Needs numpy and onnxruntime, nothing of ours. One thread; OPTIMIZE 0 takes the graph as it is, as
what was optimised ahead is served; session entries come as KEY=VALUE. ``ONNXLIFT_MASK`` names the
library that hides features of the CPU, and ``ONNXLIFT_EXTENSION`` the file to load in place of
onnxruntime's extension module.
"""

import ctypes
import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from typing import Any

_EXTENSION = "onnxruntime.capi.onnxruntime_pybind11_state"


class _Copy:
    """Finds the extension module in another file than the wheel's."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> ModuleSpec | None:
        copy = os.environ.get("ONNXLIFT_EXTENSION")
        return spec_from_file_location(name, copy) if copy and name == _EXTENSION else None


def main() -> None:
    """Run every feed and write every output."""
    model, before, after, optimize, *entries = sys.argv[1:]
    mask = os.environ.get("ONNXLIFT_MASK")
    hiding = ctypes.CDLL(mask) if mask else None
    sys.meta_path.insert(0, _Copy)
    # Both ask for the CPU's features while they are imported.
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimize == "0":
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for entry in entries:
        options.add_session_config_entry(*entry.split("=", 1))
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    if hiding and not ctypes.c_ulong.in_dll(hiding, "onnxlift_hidden_answers").value:
        sys.exit("onnxruntime's CPUID instructions are not intercepted")
    names = [output.name for output in session.get_outputs()]
    feeds: dict[int, dict[str, np.ndarray]] = {}
    with np.load(before) as found:
        for key in found.files:
            index, _, name = key.partition("/")
            feeds.setdefault(int(index), {})[name] = found[key]
    outputs = {
        f"{index}/{name}": array
        for index, feed in feeds.items()
        for name, array in zip(names, session.run(names, feed), strict=True)
    }
    np.savez(after, **outputs)


if __name__ == "__main__":
    main()
