import pytest

from onnxlift_runtime.errors import DatatypeMismatch
from onnxlift_runtime.tensors.datatypes import DATATYPES, datatype, datatype_from_onnx
from tests.support.errors import raises

# Open Inference Protocol, "Tensor Data Types", and BF16 of its extensions.
SIZES = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4,
    "INT64": 8, "FP16": 2, "FP32": 4, "FP64": 8, "BF16": 2, "BYTES": 0,
}  # fmt: skip


def test_the_table_is_the_protocols() -> None:
    assert {found.name: found.size_bytes for found in DATATYPES} == SIZES


@pytest.mark.parametrize("column", ["name", "onnx", "tensorflow"])
def test_every_name_stands_for_one_datatype(column: str) -> None:
    assert len({getattr(found, column) for found in DATATYPES}) == len(DATATYPES)


def test_a_datatype_is_found_by_its_names() -> None:
    for found in DATATYPES:
        assert datatype(found.name) is datatype_from_onnx(found.onnx) is found


@pytest.mark.parametrize("name", ["fp32", "FLOAT", "", "STRING"])
def test_any_other_name_tells_the_known_ones(name: str) -> None:
    with raises(DatatypeMismatch, f"'{name}'", "BOOL"):
        datatype(name)


def test_an_onnx_type_that_is_no_tensor_of_ours_is_refused() -> None:
    with raises(DatatypeMismatch, "'seq(map(int64,tensor(float)))'"):
        datatype_from_onnx("seq(map(int64,tensor(float)))")


def test_integers_know_their_range() -> None:
    assert datatype("INT8").integer_range == (-128, 127)
    assert datatype("UINT64").integer_range == (0, 2**64 - 1)
