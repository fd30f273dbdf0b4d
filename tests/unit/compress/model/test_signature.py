"""Signatures: read from the model, refused where a value is no tensor, labelled with class
names.
"""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from onnxlift.compress.model.signature import Signature, read_signature, with_classes
from onnxlift_runtime.errors import ConfigInvalid, ModelRefused
from onnxlift_runtime.tensors.datatypes import DATATYPES
from tests.support import builders
from tests.support.builders import spec, value
from tests.support.errors import raises


def _read(folder: Path, model: onnx.ModelProto) -> Signature:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return read_signature(path)


@pytest.mark.parametrize("name", [datatype.name for datatype in DATATYPES])
def test_every_datatype_is_read(tmp_path: Path, name: str) -> None:
    signature = _read(tmp_path, builders.identity(name, (-1, 3, -1)))

    assert (signature.inputs, signature.outputs) == (
        (spec("x", name, (-1, 3, -1)),),
        (spec("y", name, (-1, 3, -1)),),
    )


@pytest.mark.parametrize(
    "shapes", [{"a": (1, 2), "b": (2, 2)}, {"a": (), "b": (2, -1, 3)}, {"a": (3, -1, -1)}]
)
def test_any_shape_is_read(tmp_path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    model = builders.identities({name: ("FP32", shape) for name, shape in shapes.items()})

    signature = _read(tmp_path, model)

    assert {item.name: item.shape for item in signature.inputs} == shapes
    assert not signature.unranked


def test_the_names_of_dimensions_are_read(tmp_path: Path) -> None:
    signature = _read(tmp_path, builders.identity("FP32", (-1, 3, -1)))

    assert signature.names == {"x": ("batch", "", "x_2"), "y": ("batch", "", "y_2")}


def test_an_input_of_unknown_rank_is_refused(tmp_path: Path) -> None:
    model = builders.identity("FP32", ())
    model.graph.input[0].type.tensor_type.ClearField("shape")
    model.graph.output[0].type.tensor_type.ClearField("shape")

    with raises(ModelRefused, "'x'", "dimensions"):
        _read(tmp_path, model)


@pytest.mark.parametrize("kind", ["optional", "map"])
def test_other_values_are_refused_with_the_way_out(tmp_path: Path, kind: str) -> None:
    tensor = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [2])
    if kind == "optional":
        declared = helper.make_value_info("x", helper.make_optional_type_proto(tensor))
        node = helper.make_node("OptionalGetElement", ["x"], ["y"])
    else:
        declared = helper.make_value_info(
            "x", helper.make_map_type_proto(onnx.TensorProto.INT64, tensor)
        )
        node = helper.make_node("CastMap", ["x"], ["y"], domain="ai.onnx.ml")
    model = builders.build([node], [declared], [value("y", "FP32", (-1,))], domains=["ai.onnx.ml"])

    with raises(ModelRefused, "'x'", kind, "export" if kind == "optional" else "convert"):
        _read(tmp_path, model)


def test_an_output_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    output = helper.make_tensor_sequence_value_info("y", onnx.TensorProto.FLOAT, None)
    model = builders.build(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])], [value("x", "FP32", (-1,))], [output]
    )

    with raises(ModelRefused, "'y'", "seq(tensor(float))", "ConcatFromSequence") as caught:
        _read(tmp_path, model)

    assert "zipmap" not in str(caught.value)


def test_a_map_from_scikit_learn_is_refused_with_the_option_that_avoids_it(tmp_path: Path) -> None:
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    scores = helper.make_map_type_proto(
        onnx.TensorProto.INT64, helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    )
    output = helper.make_value_info("y", helper.make_sequence_type_proto(scores))
    model = builders.build([node], [value("x", "FP32", (-1, 2))], [output])

    with raises(ModelRefused, "{'zipmap': False}"):
        _read(tmp_path, model)


def test_a_model_without_inputs_is_refused(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["y"], value_floats=[1.0])

    with raises(ModelRefused, "no input"):
        _read(tmp_path, builders.build([constant], [], [value("y", "FP32", (1,))]))


def test_a_model_onnxruntime_does_not_load_is_refused_in_one_line(tmp_path: Path) -> None:
    with raises(ModelRefused, "onnxruntime") as caught:
        _read(
            tmp_path,
            builders.build(
                [helper.make_node("Nothing", ["x"], ["y"])], [value("x", "FP32", (1,))], []
            ),
        )

    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("domain", "told"), [("", "ai.onnx"), ("ai.onnx.ml", "ai.onnx.ml")])
def test_an_opset_that_is_too_new_is_told_with_those_that_are_not(
    tmp_path: Path, domain: str, told: str
) -> None:
    model = builders.linear()
    del model.opset_import[:]
    model.opset_import.extend(
        [helper.make_opsetid(name, 99 if name == domain else 1) for name in {"", domain}]
    )

    with raises(ModelRefused, 99, told):
        _read(tmp_path, model)


def test_class_names_go_to_the_outputs_with_as_many_columns() -> None:
    outputs = (spec("a", "FP32", (-1, 2)), spec("b", "FP32", (-1, 3)), spec("c", "FP32", (2,)))

    labelled = with_classes(outputs, ("no", "yes"), "models.m.classes")

    assert [item.labels for item in labelled] == [("no", "yes"), (), ()]


def test_class_names_no_output_can_carry_are_refused() -> None:
    with raises(ConfigInvalid, "models.m.classes", 2, "'b' [-1, 3]"):
        with_classes((spec("b", "FP32", (-1, 3)),), ("no", "yes"), "models.m.classes")


def test_no_class_names_change_nothing() -> None:
    outputs = (spec("b", "FP32", (-1, 3)),)

    assert with_classes(outputs, (), "models.m.classes") == outputs
