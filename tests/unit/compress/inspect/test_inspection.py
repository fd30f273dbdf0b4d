"""What ``inspect`` finds in a file."""

from pathlib import Path

import onnx

from onnxlift.compress.inspect.inspection import Beside, Share, Value, inspect
from onnxlift_runtime.errors import ModelRefused
from tests.support import builders
from tests.support.compress.transformer import transformer
from tests.support.errors import raises


def _write(folder: Path, model: onnx.ModelProto, *, beside: bool = False) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path, save_as_external_data=beside, location="weights.bin", size_threshold=0)
    return path


def test_inputs_and_outputs_are_told_with_the_names_of_their_dimensions(tmp_path: Path) -> None:
    found = inspect(_write(tmp_path, builders.linear()))

    assert found.inputs == (Value("x", "FLOAT", ("batch", 4)),)
    assert found.outputs == (Value("y", "FLOAT", ("batch", 3)),)


def test_the_file_is_described(tmp_path: Path) -> None:
    path = _write(tmp_path, builders.mlp())

    found = inspect(path)

    assert (found.path, found.size_bytes) == (str(path), path.stat().st_size)
    assert (found.opset, found.domains, found.producer) == (builders.OPSET, (), "tests")
    assert found.parameters == 16 * 64 + 64 + 64 * 4 + 4
    assert found.files == ()


def test_sizes_are_told_by_operator_layer_and_datatype(tmp_path: Path) -> None:
    found = inspect(_write(tmp_path, builders.mlp()))

    total = found.parameters * 4
    assert found.operators == (Share("Gemm", 2, total), Share("Relu", 1, 0), Share("Softmax", 1, 0))
    assert [share.name for share in found.layers] == ["gemm1", "gemm2"]
    assert found.datatypes == (Share("FLOAT", 4, total),)


def test_an_initializer_that_is_declared_as_an_input_is_none(tmp_path: Path) -> None:
    model = builders.linear()
    model.graph.input.append(builders.value("weight", "FP32", (4, 3)))

    assert [value.name for value in inspect(_write(tmp_path, model)).inputs] == ["x"]


def test_weights_beside_the_model_give_the_same_findings(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    whole = inspect(_write(tmp_path / "one", transformer()))

    parted = inspect(_write(tmp_path / "two", transformer(), beside=True))

    size_bytes = (tmp_path / "two" / "weights.bin").stat().st_size
    assert parted.files == (Beside("weights.bin", size_bytes),)
    assert (parted.layers, parted.operators, parted.datatypes) == (
        whole.layers,
        whole.operators,
        whole.datatypes,
    )
    assert [item.error for item in parted.estimates] == [item.error for item in whole.estimates]


def test_an_output_that_is_no_tensor_is_told(tmp_path: Path) -> None:
    sequence = onnx.helper.make_tensor_sequence_value_info("y", onnx.TensorProto.FLOAT, None)
    node = onnx.helper.make_node("SequenceConstruct", ["x"], ["y"])
    model = builders.build([node], [builders.value("x", "FP32", (-1, 2))], [sequence])

    assert inspect(_write(tmp_path, model)).outputs == (Value("y", "sequence_type", ()),)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"GGUF rest")

    with raises(ModelRefused, "GGUF"):
        inspect(path)
