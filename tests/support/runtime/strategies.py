"""Hypothesis strategies for tensors of every datatype."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxlift_runtime.tensors.datatypes import DATATYPES, Datatype

SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
BYTES = st.one_of(st.binary(max_size=12), st.text(max_size=6).map(str.encode), st.just(b"\x00"))
TEXTS = st.text(max_size=12).map(str.encode)


def tensors(*, finite: bool = False, text: bool = False) -> st.SearchStrategy[tuple[Datatype, Any]]:
    """A datatype and an array of it: any bits at all, or only what JSON can carry."""
    return st.sampled_from(DATATYPES).flatmap(
        lambda datatype: st.tuples(st.just(datatype), _arrays(datatype, finite=finite, text=text))
    )


def _arrays(datatype: Datatype, *, finite: bool, text: bool) -> st.SearchStrategy[Any]:
    if datatype.kind == "bytes":
        return SHAPES.flatmap(lambda shape: _objects(shape, TEXTS if text else BYTES))
    if datatype.name == "BF16":
        return arrays.arrays(np.uint16, SHAPES).map(_finite_bits if finite else lambda bits: bits)
    if datatype.kind == "float":
        floats = arrays.from_dtype(
            np.dtype(datatype.numpy), allow_nan=not finite, allow_infinity=not finite
        )
        return arrays.arrays(np.dtype(datatype.numpy), SHAPES, elements=floats)
    return arrays.arrays(np.dtype(datatype.numpy), SHAPES)


def _finite_bits(bits: Any) -> Any:
    """BF16 patterns without the exponent of NaN and infinity."""
    return np.where((bits & 0x7F80) == 0x7F80, bits & ~np.uint16(0x0080), bits).astype(np.uint16)


def _objects(shape: tuple[int, ...], elements: st.SearchStrategy[bytes]) -> st.SearchStrategy[Any]:
    size = int(np.prod(shape))
    return st.lists(elements, min_size=size, max_size=size).map(
        lambda items: object_array(items, shape)
    )


def object_array(items: list[bytes], shape: tuple[int, ...]) -> Any:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)
