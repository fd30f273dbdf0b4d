"""The datatypes of the Open Inference Protocol and their names elsewhere, as one table without
numpy.
"""

from typing import Final, NamedTuple

from onnxlift_runtime.errors import DatatypeMismatch


class Datatype(NamedTuple):
    """One datatype: its protocol name, bytes per element (0: variable), and its names in ONNX,
    TensorFlow and numpy.
    """

    name: str
    size_bytes: int
    kind: str  # "bool", "int", "uint", "float" or "bytes"
    onnx: str
    tensorflow: str
    numpy: str

    @property
    def integer_range(self) -> tuple[int, int]:
        """The smallest and largest value of an integer datatype, both included."""
        bits = self.size_bytes * 8
        return (
            (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
            if self.kind == "int"
            else (0, (1 << bits) - 1)
        )


# Names and sizes: Open Inference Protocol, "Tensor Data Types"; BF16 from its Triton and KServe
# extensions. BF16 has no numpy type: an array of BF16 holds its bit patterns as uint16.
DATATYPES: Final[tuple[Datatype, ...]] = (
    Datatype("BOOL", 1, "bool", "tensor(bool)", "DT_BOOL", "bool"),
    Datatype("UINT8", 1, "uint", "tensor(uint8)", "DT_UINT8", "uint8"),
    Datatype("UINT16", 2, "uint", "tensor(uint16)", "DT_UINT16", "uint16"),
    Datatype("UINT32", 4, "uint", "tensor(uint32)", "DT_UINT32", "uint32"),
    Datatype("UINT64", 8, "uint", "tensor(uint64)", "DT_UINT64", "uint64"),
    Datatype("INT8", 1, "int", "tensor(int8)", "DT_INT8", "int8"),
    Datatype("INT16", 2, "int", "tensor(int16)", "DT_INT16", "int16"),
    Datatype("INT32", 4, "int", "tensor(int32)", "DT_INT32", "int32"),
    Datatype("INT64", 8, "int", "tensor(int64)", "DT_INT64", "int64"),
    Datatype("FP16", 2, "float", "tensor(float16)", "DT_HALF", "float16"),
    Datatype("FP32", 4, "float", "tensor(float)", "DT_FLOAT", "float32"),
    Datatype("FP64", 8, "float", "tensor(double)", "DT_DOUBLE", "float64"),
    Datatype("BF16", 2, "float", "tensor(bfloat16)", "DT_BFLOAT16", "uint16"),
    Datatype("BYTES", 0, "bytes", "tensor(string)", "DT_STRING", "object"),
)

_BY_NAME: Final = {datatype.name: datatype for datatype in DATATYPES}
_BY_ONNX: Final = {datatype.onnx: datatype for datatype in DATATYPES}


def datatype(name: str) -> Datatype:
    """Look a datatype up by its protocol name; raises ``DatatypeMismatch`` for any other word."""
    found = _BY_NAME.get(name)
    if found is None:
        raise DatatypeMismatch(f"datatype {name!r} is unknown; known: {', '.join(_BY_NAME)}")
    return found


def datatype_from_onnx(name: str) -> Datatype:
    """Look a datatype up by onnxruntime's type string, such as ``tensor(float)``."""
    found = _BY_ONNX.get(name)
    if found is None:
        raise DatatypeMismatch(
            f"the protocol has no datatype for {name!r}; it has one for: {', '.join(_BY_ONNX)}"
        )
    return found
