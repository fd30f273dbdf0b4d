"""An unmodified tritonclient against the local service, the image in a container, and a deployed
API.
"""

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.integration.conftest import LABELS
from tests.support.errors import raises
from tests.support.targets import Target

NUMPY_NAMES = [kind + bits for kind in ("int", "uint") for bits in ("8", "16", "32", "64")]
NUMPY_NAMES += ["bool", "float16", "float32", "float64"]
ROWS = np.arange(32, dtype=np.float32).reshape(2, 16) / 10


@pytest.fixture
def client(target: Target, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of the target; skips where a model that the test's mark ``models`` names is not
    behind the target.
    """
    marked = request.node.get_closest_marker("models")
    if absent := set(marked.args if marked else ("mlp",)) - target.models:
        pytest.skip(f"{target.url} has no model {', '.join(sorted(absent))}")
    scheme, _, address = target.url.partition("://")
    client = triton.InferenceServerClient(address, ssl=scheme == "https")
    client.register_plugin(lambda sent: sent.headers.update(target.headers))
    yield client
    client.close()


def _input(name: str, array: np.ndarray, *, binary: bool = True, datatype: str = "") -> Any:
    tensor = triton.InferInput(name, list(array.shape), datatype or np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


@pytest.mark.models("mlp", "linear")
def test_server_and_models_are_live_and_ready(client: Any) -> None:
    answers = [client.is_server_live(), client.is_server_ready(), client.is_model_ready("mlp")]
    answers += [
        client.is_model_ready("linear", "1"),
        client.is_model_ready("absent"),
        client.is_model_ready("mlp", "7"),
    ]

    assert answers == [True, True, True, True, False, False]


def test_metadata_and_config_describe_the_model(client: Any) -> None:
    server, metadata, config = (
        client.get_server_metadata(),
        client.get_model_metadata("mlp"),
        client.get_model_config("mlp"),
    )

    assert "binary_tensor_data" in server["extensions"]
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}]
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [16]}]
    assert config["max_batch_size"] == 256


@pytest.mark.models("linear")
def test_repository_index_lists_every_version_as_ready(client: Any) -> None:
    index = client.get_model_repository_index()

    versions = [entry["version"] for entry in index if entry["name"] == "linear"]
    assert versions == ["1", "2"]
    assert {entry["state"] for entry in index} == {"READY"}


def test_infer_with_defaults_answers_in_binary(client: Any) -> None:
    answer = client.infer("mlp", [_input("x", ROWS)], request_id="seven")

    scores = answer.as_numpy("probabilities")
    assert scores.shape == (2, 4)
    assert scores.sum(axis=1) == pytest.approx([1, 1])
    assert answer.get_output("probabilities")["parameters"]["binary_data_size"] == scores.nbytes
    assert answer.get_response()["id"] == "seven"


def test_infer_in_json_equals_infer_in_binary(client: Any) -> None:
    plain = [triton.InferRequestedOutput("probabilities", binary_data=False)]

    binary = client.infer("mlp", [_input("x", ROWS)])
    text = client.infer("mlp", [_input("x", ROWS, binary=False)], outputs=plain)

    assert "data" in text.get_output("probabilities")
    np.testing.assert_array_equal(binary.as_numpy("probabilities"), text.as_numpy("probabilities"))


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_infer_survives_compression_in_both_directions(client: Any, algorithm: str) -> None:
    rows = np.tile(ROWS, (40, 1))

    plain = client.infer("mlp", [_input("x", rows)])
    packed = client.infer(
        "mlp",
        [_input("x", rows)],
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )

    np.testing.assert_array_equal(plain.as_numpy("probabilities"), packed.as_numpy("probabilities"))


def test_classification_tells_the_best_classes_with_labels(client: Any) -> None:
    scores = client.infer("mlp", [_input("x", ROWS)]).as_numpy("probabilities")

    answer = client.infer(
        "mlp",
        [_input("x", ROWS)],
        outputs=[triton.InferRequestedOutput("probabilities", class_count=2)],
    )

    best = [item.decode().split(":") for item in answer.as_numpy("probabilities")[:, 0]]
    assert answer.as_numpy("probabilities").shape == (2, 2)
    assert [int(index) for _, index, _ in best] == scores.argmax(axis=1).tolist()
    assert [label for _, _, label in best] == [LABELS[index] for index in scores.argmax(axis=1)]


@pytest.mark.models("linear")
def test_a_named_version_answers_with_its_own_weights(client: Any) -> None:
    rows = np.ones((1, 4), dtype=np.float32)

    first, newest = (client.infer("linear", [_input("x", rows)], version) for version in ("1", ""))

    assert (first.get_response()["model_version"], newest.get_response()["model_version"]) == (
        "1",
        "2",
    )
    assert not np.array_equal(first.as_numpy("y"), newest.as_numpy("y"))


@pytest.mark.models("same-bytes")
@pytest.mark.parametrize("binary", [True, False])
def test_bytes_come_back_as_they_were_sent(client: Any, binary: bool) -> None:
    texts = np.array([["héllo", ""], ["x" * 300, "line\nbreak"]], dtype=object)

    answer = client.infer(
        "same-bytes",
        [_input("x", texts, binary=binary)],
        outputs=[triton.InferRequestedOutput("y", binary_data=binary)],
    )

    found = [
        item.decode() if isinstance(item, bytes) else item for item in answer.as_numpy("y").ravel()
    ]
    assert found == texts.ravel().tolist()


@pytest.mark.models("same-bytes")
def test_bytes_with_an_embedded_nul_survive_in_binary(client: Any) -> None:
    blobs = np.array([[b"a\x00b", "\x00é".encode()]], dtype=object)

    answer = client.infer("same-bytes", [_input("x", blobs)])

    assert answer.as_numpy("y").tolist() == blobs.tolist()


@pytest.mark.models("same-bytes")
def test_bytes_that_are_no_utf8_are_refused_by_name(client: Any) -> None:
    with raises(InferenceServerException, "'x'", "UTF-8"):
        client.infer("same-bytes", [_input("x", np.array([[b"\xff\xfe"]], dtype=object))])


@pytest.mark.models(*(f"same-{np_to_triton_dtype(np.dtype(name)).lower()}" for name in NUMPY_NAMES))
@pytest.mark.parametrize("name", NUMPY_NAMES)
def test_every_numpy_datatype_comes_back_equal_in_binary(client: Any, name: str) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(name)
    datatype = np_to_triton_dtype(array.dtype)

    answer = client.infer(f"same-{datatype.lower()}", [_input("x", array)])

    assert answer.as_numpy("y").dtype == array.dtype
    np.testing.assert_array_equal(answer.as_numpy("y"), array)


@pytest.mark.models("same-bf16")
def test_bf16_comes_back_equal_in_binary(client: Any) -> None:
    values = np.array([[1.5, -2.25, 0]], dtype=ml_dtypes.bfloat16)

    answer = client.infer("same-bf16", [_input("x", values, datatype="BF16")])

    np.testing.assert_array_equal(
        answer.as_numpy("y").astype(np.float32), values.astype(np.float32)
    )


@pytest.mark.models("pair")
def test_two_inputs_may_mix_json_and_binary(client: Any) -> None:
    numbers, texts = np.array([[1, 2]], dtype=np.float32), np.array([["one"]], dtype=object)

    answer = client.infer("pair", [_input("a", numbers, binary=False), _input("b", texts)])

    np.testing.assert_array_equal(answer.as_numpy("a_out"), numbers)
    assert answer.as_numpy("b_out").tolist() == [[b"one"]]


@pytest.mark.models("same-fp32")
def test_an_empty_batch_is_answered_with_an_empty_tensor(client: Any) -> None:
    answer = client.infer("same-fp32", [_input("x", np.empty((0, 3), dtype=np.float32))])

    assert answer.get_output("y")["shape"] == [0, 3]


def test_a_wrong_shape_is_told_in_the_services_words(client: Any) -> None:
    with raises(InferenceServerException, "'x'", "[1,3]", "[-1,16]"):
        client.infer("mlp", [_input("x", np.zeros((1, 3), dtype=np.float32))])
