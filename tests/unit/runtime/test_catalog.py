import pytest

from onnxlift_runtime import __version__
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe.documents import (
    EXTENSIONS,
    model_config,
    model_list,
    model_metadata,
    repository_index,
    server_metadata,
    serving_metadata,
    serving_status,
)
from onnxlift_runtime.errors import ModelNotFound, VersionNotFound
from tests.support import builders
from tests.support.errors import raises

OLD = builders.manifest(name="m", version="9", version_labels=("stable", "old"))
NEW = builders.manifest(name="m", version="10")
TEXT = builders.manifest(
    [builders.spec("t", "BYTES", (-1, 2))],
    [builders.spec("n", "INT64", ())],
    name="text",
    max_batch_size=0,
)
CATALOG = Catalog.of([NEW, TEXT, OLD])
FAILED = {("m", "10"): "torn"}


def test_versions_are_ordered_by_number() -> None:
    assert CATALOG.versions("m") == (OLD, NEW)
    assert list(CATALOG) == [OLD, NEW, TEXT]


def test_a_version_is_found_by_number_label_or_as_the_newest() -> None:
    assert CATALOG.find("m") is NEW
    assert CATALOG.find("m", version="9") is OLD
    assert CATALOG.find("m", label="stable") is OLD


def test_a_model_that_does_not_exist_tells_the_known_ones() -> None:
    with raises(ModelNotFound, "'M'", "m, text"):
        CATALOG.find("M")
    with raises(ModelNotFound, "none"):
        Catalog.of([]).find("m")


@pytest.mark.parametrize(
    ("version", "label", "asked"), [("1", None, "version '1'"), (None, "new", "label 'new'")]
)
def test_a_version_that_does_not_exist_tells_the_known_ones(
    version: str, label: str, asked: str
) -> None:
    with raises(VersionNotFound, "'m'", asked, "9 (stable, old)", 10):
        CATALOG.find("m", version, label)


def test_the_server_tells_its_name_version_and_extensions() -> None:
    assert server_metadata() == {
        "name": "onnxlift",
        "version": __version__,
        "extensions": list(EXTENSIONS),
    }


def test_a_model_tells_its_tensors_with_variable_dimensions_and_versions_as_text() -> None:
    assert model_metadata(CATALOG, NEW) == {
        "name": "m",
        "versions": ["9", "10"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
    }


def test_the_configuration_leaves_the_batch_out_where_there_is_one() -> None:
    assert model_config(NEW)["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    assert model_config(TEXT)["input"] == [
        {"name": "t", "data_type": "TYPE_STRING", "dims": [-1, 2]}
    ]


def test_the_list_has_every_model_once() -> None:
    assert model_list(CATALOG) == {"models": ["m", "text"]}


def test_the_index_tells_state_and_reason_of_every_version() -> None:
    assert repository_index(CATALOG, FAILED) == [
        {"name": "m", "version": "9", "state": "READY", "reason": ""},
        {"name": "m", "version": "10", "state": "UNAVAILABLE", "reason": "torn"},
        {"name": "text", "version": "1", "state": "READY", "reason": ""},
    ]


def test_the_serving_status_has_versions_as_text() -> None:
    assert serving_status(CATALOG.versions("m"), FAILED)["model_version_status"] == [
        {"version": "9", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
        {
            "version": "10",
            "state": "END",
            "status": {"error_code": "UNAVAILABLE", "error_message": "torn"},
        },
    ]


def test_the_serving_metadata_has_its_signature_twice_nested() -> None:
    document = serving_metadata(NEW)

    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert document["model_spec"] == {"name": "m", "signature_name": "", "version": "10"}
    assert signature["inputs"]["x"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "4", "name": ""}],
            "unknown_rank": False,
        },
        "name": "x:0",
    }
    assert signature["method_name"] == "tensorflow/serving/predict"
