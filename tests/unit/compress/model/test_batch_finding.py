"""Which dimension is the batch: shown by names, by runs and by samples, and asked for otherwise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxlift.compress.model.batch import Batch
from onnxlift.compress.model.batch_finding import Evidence, Found, find_batch
from onnxlift.compress.model.padding import depends_on_neighbours, selects_rows
from onnxlift.compress.model.signature import open_session, signature_of
from onnxlift.config import Model
from onnxlift_runtime.errors import ConfigInvalid
from tests.support import builders, signatures
from tests.support.errors import raises
from tests.support.signatures import declare, numbers


def find(
    folder: Path, model: onnx.ModelProto, stored: Mapping[str, Any] | None = None, **asked: Any
) -> Found:
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    session = open_session(path)
    evidence = Evidence(
        session, signature_of(session, path), stored or {}, "models.m",
        mixing=depends_on_neighbours(model), selecting=selects_rows(model),
    )  # fmt: skip
    return find_batch(configured(**asked), evidence)


def configured(**asked: Any) -> Model:
    return Model.model_validate({"source": "m.onnx", "quality": {"samples": "h.npz"}, **asked})


RECURRENT = {"x": 0, "state": 1, "score": 0, "next": 1}


@pytest.mark.parametrize(("model", "axes"), [
    (builders.linear(), {"x": 0, "y": 0}),
    (signatures.scaled(), {"x": 0, "y": 0}),
    (signatures.scaled(None), {"x": 0, "y": 0}),
    (signatures.scalars(), {}),
    (signatures.recurrent(), RECURRENT),
    (signatures.picture(), {}),
    (signatures.selection(), {}),
    (signatures.selection("batch"), {}),
    (signatures.time_first(), {}),
    (signatures.time_first("batch"), {"line": 0, "steps": 1}),
    (signatures.with_total(), {"x": 0, "double": 0}),
    (signatures.with_anchors(), {"x": 0, "y": 0}),
    (signatures.dynamic_picture(), {"image": 0, "mask": 0}),
    (signatures.dynamic_picture(None), {"image": 0, "mask": 0}),
    (signatures.dynamic_picture(1), {}),
    (builders.identity("FP32", (1, 2)), {}),
    (builders.identity("BYTES", (-1, 2)), {"x": 0, "y": 0}),
])  # fmt: skip
def test_the_model_says_it_by_itself(
    tmp_path: Path, model: onnx.ModelProto, axes: Mapping[str, int]
) -> None:
    batch = find(tmp_path, model).batch

    assert (batch.axes, batch.rows) == (axes, 0)
    assert batch.max_batch_size == (256 if axes else 0)


def test_a_state_without_names_is_found_by_samples_that_leave_its_axis_out(tmp_path: Path) -> None:
    model = signatures.recurrent(None, None)
    stored = {"x": numbers((6, 5)), "state": numbers((6, 2, 3)), "sr": np.array(2)}

    assert find(tmp_path, model, stored).batch.axes == RECURRENT
    # Without samples, a batch that only one of both inputs has is none.
    assert find(tmp_path, model).batch.axes == {}


def test_two_samples_of_a_state_are_no_batch_of_two(tmp_path: Path) -> None:
    """x [-1, -1] beside state [2, -1, 3]: the 2 of the state counts no samples."""
    found = find(tmp_path, signatures.recurrent(None, None))

    assert (found.batch.rows, found.batch.max_batch_size) == (0, 0)


@pytest.mark.parametrize("stored", [
    {}, {"x": numbers((6, 5)), "state": numbers((6, 2, 3)), "sr": np.array(2)},
])  # fmt: skip
def test_a_name_in_one_input_finds_the_rows_of_the_others(
    tmp_path: Path, stored: dict[str, Any]
) -> None:
    model = signatures.recurrent("B", None)
    for item in (model.graph.input[0], model.graph.output[0]):
        item.type.tensor_type.shape.dim[0].Clear()

    assert find(tmp_path, model, stored).batch.axes == RECURRENT


def test_a_count_of_something_else_is_no_batch_beside_one(tmp_path: Path) -> None:
    model = signatures.with_anchors()
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_param = "n"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "n"

    assert find(tmp_path, model).batch.axes == {"x": 0, "y": 0}


@pytest.mark.parametrize("sizes", [(5, 7, 5, 6), (5, 6, 7), (5,)])
def test_samples_of_several_shapes_are_rows_too(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    rows = {"image": tuple(numbers((1, 4, size), size) for size in sizes)}
    whole = {"image": tuple(numbers((2, 1, 4, size), size) for size in sizes)}

    found = find(tmp_path, signatures.dynamic_picture(None), rows).batch.axes
    assert found == {"image": 0, "mask": 0}
    assert find(tmp_path, signatures.dynamic_picture(None), whole).batch.axes == {}


def test_samples_that_are_whole_arrays_are_no_rows(tmp_path: Path) -> None:
    model = signatures.scaled(None)
    rows, whole = numbers((5, 4)), numbers((5, 7, 4))

    assert find(tmp_path, model, {"x": rows, "scale": np.array(2)}).batch.axes == {"x": 0, "y": 0}
    assert find(tmp_path, model, {"x": whole, "scale": np.array(2)}).batch.axes == {}


@pytest.mark.parametrize("rows", [1, 4])
def test_a_declared_batch_that_a_reshape_fixes_is_fixed(tmp_path: Path, rows: int) -> None:
    found = find(tmp_path, signatures.baked(rows))

    assert [spec.shape for spec in found.signature.inputs] == [(rows, 4)]
    assert [spec.shape for spec in found.signature.outputs] == [(rows, 2)]
    assert found.batch == (Batch() if rows == 1 else Batch({"x": 0, "y": 0}, 4))


def test_a_batch_by_name_whose_rows_depend_on_each_other_is_asked_for(tmp_path: Path) -> None:
    with raises(ConfigInvalid, "models.m", "'x'", "batch_axis = {x = 0}", 'batch = "none"'):
        find(tmp_path, signatures.mixing())


def test_rows_that_depend_on_each_other_are_no_batch_where_no_name_says_so(tmp_path: Path) -> None:
    assert find(tmp_path, signatures.mixing(None)).batch.axes == {}


def test_scales_of_a_whole_batch_leave_it_a_batch(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    model = builders.build(nodes, [declare("x", ["batch", 3])], [declare("y", ["batch", 3])])

    assert find(tmp_path, model).batch.axes == {"x": 0, "y": 0}


def test_fixed_rows_are_samples_only_where_they_do_not_touch_each_other(tmp_path: Path) -> None:
    rows = find(tmp_path, builders.identity("FP32", (4, 2))).batch
    mixed = find(tmp_path, signatures.mixing(4)).batch  # type: ignore[arg-type]

    assert (rows.axes, rows.rows, rows.max_batch_size) == ({"x": 0, "y": 0}, 4, 0)
    assert mixed == Batch()


def test_fixed_rows_that_are_mixed_are_asked_for_where_samples_are_rows(tmp_path: Path) -> None:
    model = signatures.mixing(4)  # type: ignore[arg-type]

    with raises(ConfigInvalid, "'x'", 'batch = "none"'):
        find(tmp_path, model, {"x": numbers((8, 3))})
    assert find(tmp_path, model, {"x": numbers((8, 4, 3))}).batch == Batch()


def test_a_model_that_cannot_be_tried_is_believed_by_its_names_or_asked_for(
    tmp_path: Path,
) -> None:
    def picky(output: str) -> onnx.ModelProto:
        """Only indices of a table of one row run."""
        node = helper.make_node("Gather", ["table", "i"], ["y"])
        table = {"table": np.ones((1, 2), np.float32)}
        return builders.build(
            [node], [declare("i", ["batch"], "INT64")], [declare("y", [output, 2])], table
        )

    assert find(tmp_path, picky("batch")).batch.axes == {"i": 0, "y": 0}
    with raises(ConfigInvalid, "'i'", "batch_axis"):
        find(tmp_path, picky("other"))


def test_none_is_none(tmp_path: Path) -> None:
    found = find(tmp_path, builders.linear(), batch="none")

    assert (found.batch.axes, found.batch.max_batch_size) == ({}, 0)
    assert found.batch.single == {"x"}


def test_what_is_configured_holds_and_outputs_follow_by_themselves(tmp_path: Path) -> None:
    asked = {"x": 0, "state": 1, "sr": "none"}
    model = signatures.recurrent(None, None)

    assert find(tmp_path, model, batch_axis=asked).batch.axes == RECURRENT
    found = find(tmp_path, model, batch_axis={**asked, "score": "none"}).batch.axes
    assert found == {"x": 0, "state": 1, "next": 1}


@pytest.mark.parametrize(("axes", "data"), [
    ({"x": 0, "state": 1, "sr": "none", "z": 0}, ["'z'", "'state'"]),
    ({"x": 0, "state": 1}, ["'sr'"]),
    ({"x": 0, "state": 3, "sr": "none"}, ["state", 3, "[2, -1, 3]"]),
    ({"x": 0, "state": 0, "sr": "none"}, ["'state' 2"]),
    ({"x": "none", "state": "none", "sr": "none"}, ['batch = "none"']),
])  # fmt: skip
def test_axes_that_do_not_fit_the_model_are_refused(
    tmp_path: Path, axes: Mapping[str, Any], data: list[object]
) -> None:
    with raises(ConfigInvalid, "models.m.batch_axis", *data):
        find(tmp_path, signatures.recurrent(), batch_axis=axes)


def test_an_output_without_a_declared_shape_gets_the_one_it_has(tmp_path: Path) -> None:
    model = signatures.scaled()
    model.graph.output[0].type.tensor_type.ClearField("shape")

    assert [spec.shape for spec in find(tmp_path, model).signature.outputs] == [(-1, 4)]


def test_answers_at_random_say_nothing_against_a_name(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    model = builders.build(nodes, [declare("x", ["batch", 3])], [declare("y", ["batch", 3])])

    assert find(tmp_path, model).batch.axes == {"x": 0, "y": 0}
