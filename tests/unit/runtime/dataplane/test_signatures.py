"""Signatures as they are: a batch on any axis or none, over both protocols and through the
batcher.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from openapi_schema_validator import OAS30Validator

from onnxlift_runtime.dataplane.batching import Feed, run_together
from onnxlift_runtime.dataplane.session import Session
from onnxlift_runtime.dataplane.tasks import decode_task
from onnxlift_runtime.describe import documents, examples, schemas
from onnxlift_runtime.describe.openapi import describe
from onnxlift_runtime.errors import InputMismatch, ShapeMismatch
from onnxlift_runtime.jobs.objects import FORMAT_HEADER
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.settings import DEFAULT_LIMITS
from onnxlift_runtime.tensors.arrays import Array
from tests.support import builders, signatures
from tests.support.errors import raises
from tests.support.runtime.serving import Service, open_engine, tensor
from tests.support.signatures import numbers, recurrent_feed

RECURRENT = {"x": 0, "state": 1, "score": 0, "next": 1}


def serve(root: Path, model: onnx.ModelProto, axes: Mapping[str, int]) -> Service:
    builders.write_artifact(root, model, **batched(axes))
    return Service.of(open_engine(root))


def batched(axes: Mapping[str, int]) -> dict[str, Any]:
    return {"batch_axes": dict(axes), "max_batch_size": 8 if axes else 0}


def request(feed: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = {"float32": "FP32", "int64": "INT64"}
    return [
        tensor(name, names[array.dtype.name], list(array.shape), array.ravel().tolist())
        for name, array in feed.items()
    ]


def outputs(answer: Any) -> dict[str, Array]:
    return {
        item["name"]: np.array(item["data"], np.float32).reshape(item["shape"])
        for item in answer["outputs"]
    }


CASES: Sequence[tuple[str, onnx.ModelProto, Mapping[str, int], Mapping[str, Any]]] = [
    ("scalars", signatures.scalars(), {}, {"a": np.float32(1.5), "b": np.float32(2)}),
    ("scalar input", signatures.scaled(), {"x": 0, "y": 0},
     {"x": numbers((3, 4)), "scale": np.float32(2)}),
    ("state on axis 1", signatures.recurrent(), RECURRENT, recurrent_feed(3)),
    ("no batch", signatures.picture(), {}, {"image": numbers((3, 4, 5))}),
    ("rows out are not rows in", signatures.selection(), {}, {"boxes": numbers((9, 6))}),
    ("no row out", signatures.selection(), {}, {"boxes": np.zeros((2, 6), np.float32)}),
    ("time first", signatures.time_first(), {}, {"line": numbers((1, 3, 7))}),
    ("time first, batch", signatures.time_first("batch"), {"line": 0, "steps": 1},
     {"line": numbers((2, 3, 7))}),
    ("one output is a scalar", signatures.with_total(), {"x": 0, "double": 0},
     {"x": numbers((4, 3))}),
    ("some inputs have a batch", signatures.with_anchors(), {"x": 0, "y": 0},
     {"x": numbers((3, 2)), "anchors": numbers((5, 2), 1)}),
    ("any height and width", signatures.dynamic_picture(), {"image": 0, "mask": 0},
     {"image": numbers((2, 1, 5, 6))}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "axes", "feed"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_both_protocols_answer_what_the_model_answers(
    tmp_path: Path, model: onnx.ModelProto, axes: Mapping[str, int], feed: Mapping[str, Any]
) -> None:
    service = serve(tmp_path, model, axes)
    manifest = service.engine.catalog.find("tiny")
    names = [spec.name for spec in manifest.outputs]
    arrays = {name: np.asarray(array) for name, array in feed.items()}
    expected = service.engine.run(manifest, arrays, names)

    found = outputs(service.call("/v2/models/tiny/infer", {"inputs": request(arrays)}))
    columns = {name: array.tolist() for name, array in arrays.items()}
    served = service.call("/v1/models/tiny:predict", {"inputs": columns})["outputs"]

    for name in names:
        np.testing.assert_array_equal(found[name], expected[name])
        column = served[name] if len(names) > 1 else served
        np.testing.assert_allclose(np.array(column, np.float32).reshape(expected[name].shape),
                                   expected[name], rtol=1e-6)  # fmt: skip


@pytest.mark.parametrize(("model", "axes", "culprit"), [
    (signatures.scalars(), {}, "'a' []"),
    (signatures.recurrent(), RECURRENT, "'state' [2, -1, 3]"),
    (signatures.scaled(), {"x": 0, "y": 0}, "'scale' []"),
    (signatures.with_total(), {"x": 0, "double": 0}, "'total' []"),
    (signatures.time_first("batch"), {"line": 0, "steps": 1}, "'steps' [-1, -1, 3]"),
])  # fmt: skip
@pytest.mark.parametrize("verb", ["predict", "classify", "regress"])
def test_rows_that_tensorflow_serving_cannot_stack_name_the_open_inference_protocol(
    tmp_path: Path, model: onnx.ModelProto, axes: Mapping[str, int], culprit: str, verb: str
) -> None:
    service = serve(tmp_path, model, axes)

    with raises(InputMismatch, culprit, "/v2/models/tiny/infer"):
        service.call(f"/v1/models/tiny:{verb}", {"instances": [1], "examples": [{}]})


def test_an_empty_column_has_the_shape_that_the_model_declares(tmp_path: Path) -> None:
    service = serve(tmp_path, signatures.selection(), {})

    assert service.call("/v1/models/tiny:predict", {"inputs": []}) == {"outputs": []}


def test_one_instance_is_still_the_request_of_a_model_with_a_fixed_batch_of_one(
    tmp_path: Path,
) -> None:
    service = serve(tmp_path, builders.identity("FP32", (1, 2)), {})

    assert service.call("/v1/models/tiny:predict", {"instances": [[1, 2]]}) == {
        "predictions": [[1.0, 2.0]]
    }


def test_inputs_with_different_numbers_of_rows_are_refused_on_their_own_axes(
    tmp_path: Path,
) -> None:
    service = serve(tmp_path, signatures.recurrent(), RECURRENT)
    feed = {**recurrent_feed(2), "state": numbers((2, 3, 3))}

    with raises(ShapeMismatch, "'x' 2", "'state' 3"):
        service.call("/v2/models/tiny/infer", {"inputs": request(feed)})


def test_a_batch_above_the_limit_is_refused_on_its_own_axis(tmp_path: Path) -> None:
    service = serve(tmp_path, signatures.recurrent(), RECURRENT)
    feed = {**recurrent_feed(9), "x": numbers((8, 5))}

    with raises(ShapeMismatch, "'state'", 9, 8):
        service.call("/v2/models/tiny/infer", {"inputs": request(feed)})


def test_a_raw_request_is_one_row_on_the_models_own_axis(tmp_path: Path) -> None:
    axes = {"steps": 0, "line": 1}
    model = builders.build(
        [onnx.helper.make_node("Transpose", ["line"], ["steps"], perm=[1, 0, 2])],
        [signatures.declare("line", [2, "batch", 3])],
        [signatures.declare("steps", ["batch", 2, 3])],
    )
    service = serve(tmp_path, model, axes)

    answer = service.infer_binary_raw("tiny", numbers((2, 1, 3)).tobytes())

    assert json.loads(answer)["outputs"][0]["shape"] == [1, 2, 3]


class Counted:
    """Runs a session and remembers the rows of each inference."""

    def __init__(self, root: Path, model: onnx.ModelProto, axes: Mapping[str, int]) -> None:
        self.manifest = builders.write_artifact(root, model, **batched(axes))
        self.session = Session(root / "tiny" / "1", self.manifest, threads=1, verify=True)
        self.runs = 0

    def run(
        self, _manifest: Manifest, feeds: Mapping[str, Array], names: Sequence[str]
    ) -> dict[str, Array]:
        self.runs += 1
        return self.session.run(feeds, names)

    def compare(self, feeds: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
        """Run feeds together and alone, require the same answers; returns how many inferences it
        took.
        """
        together = [Feed(self.manifest, feed, tuple(names)) for feed in feeds]
        found = run_together(together, self.run)
        for feed, answer in zip(feeds, found, strict=True):
            assert isinstance(answer, dict)
            for name, alone in self.session.run(feed, names).items():
                np.testing.assert_allclose(answer[name], alone, rtol=1e-5, atol=1e-6)
        return self.runs


def test_requests_are_joined_on_the_axis_of_each_tensor(tmp_path: Path) -> None:
    counted = Counted(tmp_path, signatures.recurrent(), RECURRENT)

    runs = counted.compare([recurrent_feed(2), recurrent_feed(1, 7)], ["score", "next"])

    assert runs == 1


def test_requests_whose_shared_inputs_differ_are_not_joined(tmp_path: Path) -> None:
    counted = Counted(tmp_path, signatures.recurrent(), RECURRENT)

    runs = counted.compare(
        [recurrent_feed(1, rate=2), recurrent_feed(1, rate=4), recurrent_feed(1, 5, rate=2)],
        ["score"],
    )

    assert runs == 2


def test_an_output_without_a_batch_keeps_requests_apart(tmp_path: Path) -> None:
    counted = Counted(tmp_path, signatures.with_total(), {"x": 0, "double": 0})
    feeds = [{"x": numbers((2, 3), seed)} for seed in range(3)]

    assert counted.compare(feeds, ["double", "total"]) == 3
    assert counted.compare(feeds, ["double"]) == 3 + 1


def test_requests_of_a_model_without_a_batch_are_never_joined(tmp_path: Path) -> None:
    counted = Counted(tmp_path, signatures.selection(), {})

    assert counted.compare([{"boxes": numbers((4, 6), seed)} for seed in range(3)], ["kept"]) == 3


def test_triton_is_told_of_a_batch_only_in_dimension_0() -> None:
    first = builders.manifest(batch_axes={"x": 0, "y": 0})
    second = replace(first, batch_axes={"x": 0})

    assert documents.model_config(first)["input"][0]["dims"] == [4]
    config = documents.model_config(second)
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (0, [-1, 4])


def test_the_document_offers_rows_only_where_they_can_be_stacked() -> None:
    plain = builders.manifest()
    shared = replace(plain, batch_axes={"x": 0})

    offered, kept = (
        schemas.model_schemas(manifest)[schemas.schema_name(manifest, "PredictRequest")]
        for manifest in (plain, shared)
    )

    assert [list(one["properties"])[1] for one in offered["oneOf"]] == ["instances", "inputs"]
    assert list(kept["properties"]) == ["signature_name", "inputs"]


@pytest.mark.parametrize(("model", "axes"), [case[1:3] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_the_documents_examples_are_answered_and_fit_its_schemas(
    tmp_path: Path, model: onnx.ModelProto, axes: Mapping[str, int]
) -> None:
    service = serve(tmp_path, model, axes)
    manifest = service.engine.catalog.find("tiny")
    document = describe(service.engine.catalog, title="demo", api_key_required=False)

    calls = {
        "/v2/models/tiny/infer": ("Infer", examples.infer_example(manifest)),
        "/v1/models/tiny:predict": ("Predict", examples.predict_example(manifest)),
    }

    for path, (kind, example) in calls.items():
        for what, value in (("Request", example), ("Response", service.call(path, example))):
            rooted = {"$ref": f"#/components/schemas/tiny.1.{kind}{what}"} | document
            assert list(OAS30Validator(rooted).iter_errors(value)) == []


@pytest.mark.parametrize(("model", "axes", "feed"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
@pytest.mark.parametrize("word", ["npz", "jsonl", "json"])
def test_a_job_of_any_format_gets_the_same_answer(
    tmp_path: Path, model: onnx.ModelProto, axes: Mapping[str, int], feed: Mapping[str, Any],
    word: str,
) -> None:  # fmt: skip
    service = serve(tmp_path, model, axes)
    manifest = service.engine.catalog.find("tiny")
    arrays = {name: np.asarray(array) for name, array in feed.items()}
    names = [spec.name for spec in manifest.outputs]
    expected = service.engine.run(manifest, arrays, names)

    task = decode_task(DEFAULT_LIMITS, manifest, {FORMAT_HEADER: word}, written(word, arrays))
    body = task.encode(run_together(task.feeds, service.engine.run)).body

    found = read(word, body)
    for name in names:
        np.testing.assert_array_equal(found[name], expected[name])


def written(word: str, arrays: Mapping[str, Array]) -> bytes:
    if word == "npz":
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()
    return json.dumps({"inputs": request(arrays)}).encode()


def read(word: str, body: bytes) -> Mapping[str, Array]:
    return dict(np.load(io.BytesIO(body))) if word == "npz" else outputs(json.loads(body))


def test_a_line_is_the_whole_inputs_of_a_model_without_rows(tmp_path: Path) -> None:
    service = serve(tmp_path, signatures.selection(), {})
    manifest = service.engine.catalog.find("tiny")
    boxes = np.ones((2, 6), np.float32).tolist()

    lines = json.dumps(boxes).encode() + b"\n" + json.dumps({"boxes": boxes[:1]}).encode()
    task = decode_task(DEFAULT_LIMITS, manifest, {FORMAT_HEADER: "jsonl"}, lines)
    found = task.encode(run_together(task.feeds, service.engine.run)).body.splitlines()

    assert [len(json.loads(line)["outputs"]) for line in found] == [2, 1]
