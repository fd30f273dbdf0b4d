"""Run as a script by another Python, perhaps of another CPU.

``child.py MODEL FEEDS.npz OUTPUTS.npz OPTIMIZE [KEY=VALUE...]``

Needs numpy and onnxruntime, nothing of ours. One thread; OPTIMIZE 0 takes the graph as it is, as
what was optimised ahead is served; session entries come as KEY=VALUE.
"""

import sys

import numpy as np
import onnxruntime as ort


def main() -> None:
    """Run every feed and write every output."""
    model, before, after, optimize, *entries = sys.argv[1:]
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimize == "0":
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for entry in entries:
        options.add_session_config_entry(*entry.split("=", 1))
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
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
