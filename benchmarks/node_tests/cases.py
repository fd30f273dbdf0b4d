"""The onnx package's node tests, as models with one set of inputs each, and what onnxruntime makes
of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
from onnx.backend.test.case.node import collect_testcases

from onnxlift_runtime.tensors.arrays import Array

_BFLOAT16: Final = "bfloat16"


@dataclass(frozen=True)
class Case:
    """One node test: ``feeds`` by input name, None where one is no tensor of a type that numpy
    has.
    """

    name: str
    model: onnx.ModelProto
    feeds: Mapping[str, Array] | None
    whole: Any

    def answers(self) -> dict[str, Array] | None:
        """What onnxruntime answers to tensors; None where it does not run the case."""
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1  # as they are served here: threads sum in another order
        try:
            session = ort.InferenceSession(
                self.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            names = [item.name for item in session.get_outputs()]
            results = session.run(names, dict(self.feeds or self.whole))
        except Exception:  # onnxruntime's errors share no base class below Exception
            return None
        return dict(zip(names, results, strict=True))


def read_cases() -> Iterator[Case]:
    """Every node test that has inputs and a set of data; tests of training are left out."""
    for test in collect_testcases(None):
        if test.model is None or not test.data_sets:
            continue
        initial = {item.name for item in test.model.graph.initializer}
        names = [item.name for item in test.model.graph.input if item.name not in initial]
        values = test.data_sets[0][0]
        whole = dict(zip(names, values, strict=False))
        yield Case(test.name, test.model, _tensors(whole), whole)


def _tensors(values: Mapping[str, Any]) -> Mapping[str, Array] | None:
    arrays = {name: _array(value) for name, value in values.items()}
    return None if any(array is None for array in arrays.values()) else arrays  # type: ignore[return-value]


def _array(value: Any) -> Array | None:
    if isinstance(value, onnx.TensorProto):
        value = onnx.numpy_helper.to_array(value)
    if not isinstance(value, np.ndarray | np.generic):
        return None
    array = np.asarray(value)
    if array.dtype.kind in "US":
        return array.astype(object)
    return array if array.dtype.kind in "biufO" else None
