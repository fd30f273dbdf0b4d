"""How much smaller a model may become, estimated from its weights alone: no samples, nothing
written, nothing run.

A family of recipes stores some kinds of weights in another form. Sizes follow from shapes; the
error is measured by storing a few rows of every weight as the steps do. What answers lose is for
``compress`` to find out.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from onnxlift.compress.graph.editing import attributes
from onnxlift.compress.model.inventory import Weight
from onnxlift.compress.quantization.blocks import Grid, quantize
from onnxlift_runtime.errors import ModelRefused

Kind: TypeAlias = Literal["matrix", "kernel", "table"]

_ROWS: Final = 48  # of each weight; the error is a mean over many more values than that
_WORTH: Final = 0.98  # of the size; less is not told
_SMALLEST_TABLE_BYTES: Final = 65_536
_TABLE_BLOCKS: Final = (256, 128, 64, 32, 16)
_FEWEST_STORED: Final = 256
_FLOAT: Final = onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class Estimate:
    """What one family of recipes would make of the model.

    ``touched_bytes`` is what its weights take now, ``size_bytes`` the model's files afterwards.
    ``error`` is the relative root mean square error of those weights, not of the answers.
    """

    family: str
    weights: int
    touched_bytes: int
    size_bytes: int
    error: float


@dataclass(frozen=True)
class _Form:
    """Another form for one weight [rows, columns]: its bytes, and the values it gives back."""

    size: Callable[[int, int], int]
    restore: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Totals:
    weights: int = 0
    before: int = 0
    after: int = 0
    noise: float = 0.0
    signal: float = 0.0

    def __add__(self, other: "_Totals") -> "_Totals":
        return _Totals(
            self.weights + other.weights,
            self.before + other.before,
            self.after + other.after,
            self.noise + other.noise,
            self.signal + other.signal,
        )


def kind(weight: Weight) -> Kind | None:
    """What the steps can do with a weight: store it as a matrix, a kernel, a table, or leave it."""
    node, tensor = weight.node, weight.tensor
    if tensor.data_type != _FLOAT or weight.shared or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in ("MatMul", "Gemm") and weight.position == 1 and len(tensor.dims) == 2:
        return "matrix" if _is_plain(node) else None
    if node.op_type == "Conv" and weight.position == 1:
        return "kernel"
    if node.op_type == "Gather" and weight.position == 0 and attributes(node).get("axis", 0) == 0:
        large = len(tensor.dims) == 2 and weight.size_bytes >= _SMALLEST_TABLE_BYTES
        return "table" if large and tensor.dims[1] % _TABLE_BLOCKS[-1] == 0 else None
    return None


def estimates(found: Iterable[Weight], size_bytes: int, folder: Path) -> tuple[Estimate, ...]:
    """One estimate for each family that has anything to store otherwise; ``folder`` is where the
    model lies.

    Raises ``ModelRefused`` where a weight's bytes do not fit its shape.
    """
    totals: dict[str, _Totals] = {}
    for weight in found:
        forms = _forms(weight)
        sample = _sample(weight, folder) if forms else np.zeros((0, 0))
        for part, form in forms.items():
            totals[part] = totals.get(part, _Totals()) + _measure(weight, sample, form)
    made = [
        _estimate(name, [totals[part] for part in parts], size_bytes)
        for name, parts in FAMILIES
        if totals.keys() >= set(parts)
    ]
    return tuple(item for item in made if item.size_bytes < _WORTH * size_bytes)


# Families by the parts they store, from the mildest to the hardest.
FAMILIES: Final = (
    ("float16 (for GPUs)", ("float16",)),
    ("int8 weights, float32 products", ("int8 weights",)),
    ("int8 kernels", ("int8 kernels",)),
    ("int8 matrices", ("int8 matrices",)),
    ("4-bit matrices", ("4-bit matrices",)),
    ("8-bit embeddings", ("8-bit tables",)),
    ("4-bit embeddings", ("4-bit tables",)),
    ("int8 kernels and matrices", ("int8 kernels", "int8 matrices")),
    ("int8 matrices, 8-bit embeddings", ("int8 matrices", "8-bit tables")),
    ("int8 matrices, 4-bit embeddings", ("int8 matrices", "4-bit tables")),
    ("4-bit matrices and embeddings", ("4-bit matrices", "4-bit tables")),
)


def _forms(weight: Weight) -> dict[str, _Form]:
    forms: dict[str, _Form] = {}
    # A single number, such as what masks attention, may lie far beyond float16 and weighs nothing.
    if weight.tensor.data_type == _FLOAT and weight.size_bytes > 4:
        forms["float16"] = _HALF
    if _is_stored(weight):
        forms["int8 weights"] = _CHANNELS
    match kind(weight):
        case "kernel":
            forms["int8 kernels"] = _CHANNELS
        case "matrix":
            forms["int8 matrices"] = _CHANNELS
            forms["4-bit matrices"] = _blocks(Grid(4, 32, symmetric=False))
        case "table":
            columns = weight.tensor.dims[1]
            widest = next(block for block in _TABLE_BLOCKS[1:] if columns % block == 0)
            forms["8-bit tables"] = _blocks(Grid(8, widest, True, np.float16))
            forms["4-bit tables"] = _blocks(Grid(4, min(widest, 32), False, np.float16))
    return forms


def _is_stored(weight: Weight) -> bool:
    """Whether ``WeightStorage`` stores it, in whatever graph it stands."""
    dims = weight.tensor.dims
    large = len(dims) > 1 and math.prod(dims) >= _FEWEST_STORED
    return weight.is_weight and large and weight.tensor.data_type == _FLOAT


def _blocks(grid: Grid) -> _Form:
    """Blocks of a row share a scale, and a zero point where the grid is not symmetric."""
    scale_bits = np.dtype(grid.scale_type).itemsize * 8

    def size(rows: int, columns: int) -> int:
        count = -(-columns // grid.block)
        zero_bytes = 0 if grid.symmetric else -(-count * grid.bits // 8)
        return rows * (count * (grid.block * grid.bits + scale_bits) // 8 + zero_bytes)

    return _Form(
        size, lambda values: quantize(values, grid, "nearest").restore()[:, : values.shape[1]]
    )


def _to_int8(values: np.ndarray) -> np.ndarray:
    scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-30) / 127
    rounded: np.ndarray = np.rint(values / scale) * scale
    return rounded


def _to_half(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


_HALF: Final = _Form(lambda rows, columns: 2 * rows * columns, _to_half)
_CHANNELS: Final = _Form(lambda rows, columns: rows * (columns + 4), _to_int8)


def _measure(weight: Weight, sample: np.ndarray, form: _Form) -> _Totals:
    """Size and error of one weight in another form; the error of the sampled rows stands for
    all.
    """
    rows, columns = _shape(weight)
    if not sample.size:
        return _Totals(1, weight.size_bytes, form.size(rows, columns))
    with np.errstate(all="ignore"):
        noise, signal = (
            float(np.square(values, dtype=np.float64).sum()) * rows / len(sample)
            for values in (form.restore(sample) - sample, sample)
        )
    return _Totals(1, weight.size_bytes, form.size(rows, columns), noise, signal)


def _sample(weight: Weight, folder: Path) -> np.ndarray:
    """Some rows, evenly spread, as float32."""
    rows = _rows(weight, folder)
    return np.ascontiguousarray(rows[:: max(len(rows) // _ROWS, 1)], np.float32)


def _shape(weight: Weight) -> tuple[int, int]:
    """Rows that share a scale, and their length: the outputs of a matrix or kernel, the entries of
    a table.
    """
    dims = tuple(weight.tensor.dims)
    if kind(weight) == "matrix" and not _is_transposed(weight.node):
        return dims[1], dims[0]
    rows = dims[0] if dims else 1
    if len(dims) == 3 and kind(weight) is None:  # the gates of each direction of an LSTM
        rows *= dims[1]
    return rows, weight.size_bytes // 4 // rows if rows else 0


def _rows(weight: Weight, folder: Path) -> np.ndarray:
    """The values as [rows, columns], mapped from the file where they lie beside the model."""
    values = _values(weight, folder)
    if kind(weight) == "matrix" and not _is_transposed(weight.node):
        return values.T
    return values.reshape(_shape(weight))


def _values(weight: Weight, folder: Path) -> np.ndarray:
    tensor = weight.tensor
    dims = tuple(tensor.dims)
    try:
        if tensor.data_location == onnx.TensorProto.EXTERNAL and weight.size_bytes:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            return np.memmap(
                folder / entries["location"],
                np.dtype("<f4"),
                "r",
                int(entries.get("offset") or 0),
                shape=dims or (1,),
            )
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, OSError) as error:
        raise ModelRefused(f"the weights {tensor.name!r} cannot be read: {error}") from error


def _is_plain(node: onnx.NodeProto) -> bool:
    found = attributes(node)
    return (
        found.get("alpha", 1.0) == 1.0
        and found.get("beta", 1.0) == 1.0
        and not found.get("transA", 0)
    )


def _is_transposed(node: onnx.NodeProto) -> bool:
    return bool(attributes(node).get("transB", 0))


def _estimate(family: str, parts: Iterable[_Totals], size_bytes: int) -> Estimate:
    total = sum(parts, _Totals())
    error = float(np.sqrt(total.noise / total.signal)) if total.signal > 0 else 0.0
    return Estimate(
        family, total.weights, total.before, size_bytes - total.before + total.after, error
    )
