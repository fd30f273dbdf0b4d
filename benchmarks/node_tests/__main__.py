"""``make node-tests``: how many of ONNX's own node tests go in, and come out right over both
protocols.

A test counts where onnxruntime runs it and all its values are tensors. It is accepted where
``compress`` would take the model with its input as a sample, and right where both protocols answer
what onnxruntime answers; floating point to six digits, because sums depend on how arrays lie in
memory.
"""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.node_tests.cases import Case, read_cases
from onnxlift.compress.model.batch_finding import Evidence, Found, find_batch
from onnxlift.compress.model.padding import depends_on_neighbours, selects_rows
from onnxlift.compress.model.reading import read_source
from onnxlift.compress.model.samples import load_samples
from onnxlift.compress.model.signature import open_session, signature_of
from onnxlift.config import Model
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.dataplane.session import Session
from onnxlift_runtime.errors import OnnxliftError
from onnxlift_runtime.settings import DEFAULT_LIMITS
from onnxlift_runtime.tensors.arrays import Array, decode, encode
from onnxlift_runtime.tensors.wire import WireTensor
from tests.support import builders
from tests.support.runtime.serving import Service

GOAL: Final = 0.95
_CONFIGURED: Final = Model.model_validate({"source": "m.onnx", "quality": {"samples": "s.npz"}})


def main() -> None:
    """Run every case, print what was counted; exit status 1 below the goal."""
    counts: Counter[str] = Counter()
    failures: dict[str, str] = {}
    for case in read_cases():
        expected, again = case.answers(), case.answers()
        if expected is None or again is None:
            counts["not run by onnxruntime"] += 1
            continue
        if not _agree(expected, again):
            counts["answered at random"] += 1
            continue
        outcome, why = _judge(case, expected)
        counts[outcome] += 1
        if outcome not in ("right", "no tensors"):
            failures[case.name] = f"{outcome}: {why}"
    others = ("not run by onnxruntime", "answered at random", "no tensors")
    tensors = sum(counts.values()) - sum(counts[outcome] for outcome in others)
    for name, why in sorted(failures.items()):
        print(f"{name}: {why[:200]}")
    for outcome, count in counts.most_common():
        print(f"{count:6d}  {outcome}")
    print(f"{counts['right'] / tensors:.1%} of {tensors} tests with tensors are right")
    sys.exit(counts["right"] < GOAL * tensors)


def _judge(case: Case, expected: Mapping[str, Any]) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(case.model.SerializeToString())
        try:
            found = _accepted(case, path)
        except OnnxliftError as error:
            tensors = case.feeds is not None and all(map(_is_tensor, expected.values()))
            return ("refused" if tensors else "no tensors"), str(error)
        assert case.feeds is not None
        try:
            wrong = _differences(case, found, path, expected)
        except Exception as error:  # whatever it is, it is reported and counts
            return "accepted, and failed", repr(error)
        return ("accepted, and wrong", wrong) if wrong else ("right", "")


def _agree(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return all(
        not _is_tensor(value) or _same(np.asarray(second[name]), np.asarray(value))
        for name, value in first.items()
    )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) and np.asarray(value).dtype.kind in "biufOSU"


def _accepted(case: Case, path: Path) -> Found:
    source = read_source(path)
    session = open_session(path)
    signature = signature_of(session, path)
    stored = {name: (array,) for name, array in (case.feeds or {}).items()}
    evidence = Evidence(
        session,
        signature,
        stored,
        "models.m",
        mixing=depends_on_neighbours(source.proto),
        selecting=selects_rows(source.proto),
    )
    found = find_batch(_CONFIGURED, evidence)
    texts = {name: array[0].astype(str) if array[0].dtype == object else array[0]
             for name, array in stored.items()}  # fmt: skip
    numbered = {f"{name}.0": array for name, array in texts.items()}
    np.savez(path.with_name("s.npz"), **numbered)  # type: ignore[arg-type]
    load_samples(path.with_name("s.npz"), found.signature.inputs, batch=found.batch)
    return found


def _differences(case: Case, found: Found, path: Path, expected: Mapping[str, Any]) -> str:
    manifest = builders.manifest(
        found.signature.inputs,
        found.signature.outputs,
        max_batch_size=found.batch.max_batch_size,
        batch_axes=dict(found.batch.axes),
    )
    session = Session(path.parent, manifest, threads=1, verify=False)
    key = (manifest.name, manifest.version)
    engine = Engine(Catalog.of([manifest]), {key: session}, {}, DEFAULT_LIMITS)
    service, feeds = Service.of(engine), _feeds(case)
    ways = (_infer_binary, _predict) if _is_infinite(feeds) else (_infer, _infer_binary, _predict)
    for way in ways:
        answers = way(service, found, feeds)
        for name, value in expected.items():
            if not _same(answers[name], np.asarray(value)):
                return f"{name} by {way.__name__}: {answers[name]!s:.80} instead of {value!s:.80}"
    return ""


def _is_infinite(feeds: Mapping[str, Array]) -> bool:
    """Whether the JSON of the Open Inference Protocol, which has no infinities, cannot say them."""
    return any(array.dtype.kind == "f" and np.isinf(array).any() for array in feeds.values())


def _feeds(case: Case) -> dict[str, Array]:
    def plain(array: Array) -> Array:
        if array.dtype != object:
            return array
        texts = np.empty(array.shape, dtype=object)
        for place, item in np.ndenumerate(array):
            texts[place] = item.encode() if isinstance(item, str) else item
        return texts

    return {name: plain(array) for name, array in (case.feeds or {}).items()}


def _infer(service: Service, found: Found, feeds: Mapping[str, Array]) -> dict[str, Array]:
    tensors = [encode(feeds[spec.name], spec.name, spec.datatype, binary=False)
               for spec in found.signature.inputs]  # fmt: skip
    inputs = [
        {"name": item.name, "datatype": item.datatype, "shape": list(item.shape),
         "data": _flat(item.data)}
        for item in tensors
    ]  # fmt: skip
    document = json.loads(service.post("/v2/models/tiny/infer", _json({"inputs": inputs})).body)
    return {
        item["name"]: decode(
            WireTensor(item["name"], item["datatype"], tuple(item["shape"]), item["data"])
        )
        for item in document["outputs"]
    }


def _flat(data: Any) -> list[Any]:
    text = isinstance(data, str | list)
    flat = np.asarray(data, dtype=object if text else None).reshape(-1).tolist()
    return [None if item != item else item for item in flat]  # NaN is null


def _infer_binary(service: Service, found: Found, feeds: Mapping[str, Array]) -> dict[str, Array]:
    tensors = [encode(feeds[spec.name], spec.name, spec.datatype, binary=True)
               for spec in found.signature.inputs]  # fmt: skip
    inputs = [
        {"name": item.name, "datatype": item.datatype, "shape": list(item.shape),
         "parameters": {"binary_data_size": len(item.data)}}
        for item in tensors
    ]  # fmt: skip
    document = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    answer = service.infer_binary("tiny", document, b"".join(item.data for item in tensors))
    return _decoded(answer.body, answer.headers)


def _decoded(body: bytes, headers: Mapping[str, str]) -> dict[str, Array]:
    length = int(headers.get("Inference-Header-Content-Length", len(body)))
    offset, arrays = length, {}
    for item in json.loads(body[:length])["outputs"]:
        size = item["parameters"]["binary_data_size"]
        blob = memoryview(body)[offset : offset + size]
        arrays[item["name"]] = decode(
            WireTensor(item["name"], item["datatype"], tuple(item["shape"]), blob)
        )
        offset += size
    return arrays


def _predict(service: Service, found: Found, feeds: Mapping[str, Array]) -> dict[str, Array]:
    columns = {name: _column(array) for name, array in feeds.items()}
    answer = service.post("/v1/models/tiny:predict", _json({"inputs": columns}))
    outputs = json.loads(answer.body)["outputs"]
    specs = found.signature.outputs
    if len(specs) == 1:
        outputs = {specs[0].name: outputs}
    return {spec.name: _array(outputs[spec.name], spec.datatype) for spec in specs}


def _column(array: Array) -> Any:
    return (
        array.tolist()
        if array.dtype != object
        else np.vectorize(bytes.decode, otypes="O")(array).tolist()
    )


def _array(value: Any, datatype: str) -> Array:
    if datatype == "BYTES":
        return np.array(value, dtype=object)
    return np.array(value, dtype=np.float64 if datatype in {"FP16", "FP32", "FP64"} else None)


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _same(found: Array, expected: Array) -> bool:
    if expected.dtype.kind in "OSU":
        texts = [item.decode() if isinstance(item, bytes) else item for item in found.ravel()]
        return found.shape == expected.shape and texts == expected.ravel().tolist()
    if found.shape != expected.shape or not expected.size:
        return found.size == expected.size == 0  # JSON says no shape below an empty list
    if expected.dtype.kind != "f":
        return bool(np.array_equal(found, expected))
    # JSON without special floats writes infinities as null, which reads as NaN.
    special = ~np.isfinite(expected)
    rest = np.allclose(found[~special], expected[~special], rtol=1e-6, atol=1e-7)
    return bool(rest and not np.isfinite(found[special]).any())


if __name__ == "__main__":
    main()
