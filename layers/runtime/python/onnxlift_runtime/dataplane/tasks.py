"""What a job's payload asks for, whatever format it came in: arrays to run, and how their answers
are written down.

One Open Inference Protocol request is one feed; a file of JSON lines is a feed for each line. A
line that cannot be read, or that the model refuses, is answered by ``{"error": …}`` in its place;
where no line could be answered the job has failed.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from onnxlift_runtime.dataplane.batching import Arrays, Feed
from onnxlift_runtime.errors import MalformedRequest, OnnxliftError, RequestError
from onnxlift_runtime.http.encoding import decode_json, decompress
from onnxlift_runtime.http.message import Response
from onnxlift_runtime.jobs.objects import FIRST_LINE_HEADER, FORMAT_HEADER, SERVING_VERBS
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.protocols import oip
from onnxlift_runtime.protocols.oip_call import Call, decode_call, encode_call
from onnxlift_runtime.protocols.tfs_call import decode_serving
from onnxlift_runtime.settings import Limits
from onnxlift_runtime.tensors import images, npy
from onnxlift_runtime.tensors.arrays import Array
from onnxlift_runtime.tensors.rows import takes_rows
from onnxlift_runtime.tensors.wire import WireTensor, check_input

Answer = dict[str, Array] | OnnxliftError


@dataclass(frozen=True, slots=True)
class Task:
    """Feeds to run, and ``encode``, which makes one response of their answers or raises an
    ``OnnxliftError``.
    """

    feeds: tuple[Feed, ...]
    encode: Callable[[Sequence[Answer]], Response]


def decode_task(
    limits: Limits, manifest: Manifest, headers: Mapping[str, str], body: bytes
) -> Task:
    """Read a payload by the format its headers name; raises a ``RequestError`` for what cannot be
    read.
    """
    name = headers.get(FORMAT_HEADER, "")
    if name not in _DECODERS:
        told = ", ".join(item for item in _DECODERS if item and item not in SERVING_VERBS)
        raise MalformedRequest(f"format {name!r} is not read here; read are: {told}")
    if name:
        body = decompress(body, headers.get("content-encoding", ""), limits.max_decompressed_bytes)
    return _DECODERS[name](limits, manifest, headers, body)


def _decode_infer(
    limits: Limits, manifest: Manifest, headers: Mapping[str, str], body: bytes
) -> Task:
    call = decode_call(limits, manifest, headers, body)
    return _single(
        manifest, call.arrays, call.output_names, lambda arrays: encode_call(call, arrays)
    )


def _decode_npy(
    limits: Limits, manifest: Manifest, _headers: Mapping[str, str], body: bytes
) -> Task:
    return _with_archive(manifest, npy.decode_npy(body, manifest, limits))


def _decode_npz(
    limits: Limits, manifest: Manifest, _headers: Mapping[str, str], body: bytes
) -> Task:
    return _with_archive(manifest, npy.decode_npz(body, manifest, limits))


def _decode_image(
    limits: Limits, manifest: Manifest, _headers: Mapping[str, str], body: bytes
) -> Task:
    return _with_document(manifest, images.decode_picture(body, manifest, limits))


def _decode_text(
    limits: Limits, manifest: Manifest, _headers: Mapping[str, str], body: bytes
) -> Task:
    """The whole file as the one element of the model's one BYTES input."""
    if len(manifest.inputs) != 1:
        raise MalformedRequest(
            f"a text is one input, model {manifest.name!r} has {len(manifest.inputs)}"
        )
    spec = manifest.inputs[0]
    array = np.empty(1, dtype=object)
    array[0] = body
    shaped = array.reshape((1,) * len(spec.shape))
    check_input(WireTensor(spec.name, "BYTES", shaped.shape, None), spec, manifest, limits)
    return _with_document(manifest, {spec.name: shaped})


def _decode_document(
    limits: Limits, manifest: Manifest, _headers: Mapping[str, str], body: bytes
) -> Task:
    """A request of either protocol: ``{"instances": …}`` is TensorFlow Serving's, any other is
    ``infer``'s.
    """
    document = decode_json(body, allow_nan=True, max_bytes=limits.max_json_bytes)
    if isinstance(document, dict) and "instances" in document:
        return _decode_serving("predict", limits, manifest, {}, body)
    return _decode_infer(limits, manifest, {}, body)


def _decode_serving(
    verb: str, limits: Limits, manifest: Manifest, _headers: Mapping[str, str], body: bytes
) -> Task:
    """A request of TensorFlow Serving, answered as its own path would answer it."""
    call = decode_serving(verb, body, manifest, limits)
    return _single(manifest, call.arrays, call.output_names, call.encode)


def _single(
    manifest: Manifest, arrays: Arrays, outputs: Sequence[str], encode: Callable[[Any], Response]
) -> Task:
    """A task of one feed; where it fails the task has."""

    def encode_only(answers: Sequence[Answer]) -> Response:
        (answer,) = answers
        if isinstance(answer, OnnxliftError):
            raise answer
        return encode(answer)

    return Task((Feed(manifest, arrays, tuple(outputs)),), encode_only)


def _with_archive(manifest: Manifest, arrays: Arrays) -> Task:
    return _single(
        manifest,
        arrays,
        _names(manifest),
        lambda found: Response(
            200, npy.encode_npz(found, manifest), {"Content-Type": "application/x-npz"}
        ),
    )


def _with_document(manifest: Manifest, arrays: Arrays) -> Task:
    wanted = tuple(oip.WantedOutput(name) for name in _names(manifest))
    call = Call(manifest, arrays, wanted, "")
    return _single(manifest, arrays, call.output_names, lambda found: encode_call(call, found))


def _names(manifest: Manifest) -> tuple[str, ...]:
    return tuple(spec.name for spec in manifest.outputs)


def _decode_lines(
    limits: Limits, manifest: Manifest, headers: Mapping[str, str], body: bytes
) -> Task:
    first = int(headers.get(FIRST_LINE_HEADER, "1"))
    read = [_decode_line(limits, manifest, line, number) for number, line in _lines(body, first)]
    if not read:
        raise MalformedRequest("the file has no line")
    feeds = tuple(item.feeds[0] for item in read if isinstance(item, Task))
    part = FIRST_LINE_HEADER in headers

    def encode(answers: Sequence[Answer]) -> Response:
        remaining = iter(answers)
        written = [
            item if isinstance(item, OnnxliftError) else _encode_line(item, next(remaining))
            for item in read
        ]
        return _joined(written, may_fail=part)

    return Task(feeds, encode)


def _lines(body: bytes, first: int) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers."""
    for number, line in enumerate(body.split(b"\n"), first):
        if line.strip():
            yield number, line


def _decode_line(
    limits: Limits, manifest: Manifest, line: bytes, number: int
) -> Task | OnnxliftError:
    """One line: a request of either protocol, or one instance as TensorFlow Serving has them in
    ``instances``; where the model has no rows to stack, its inputs as ``inputs`` has them.
    """
    try:
        document = decode_json(line, allow_nan=True, max_bytes=limits.max_json_bytes)
        if isinstance(document, dict) and (
            "instances" in document or isinstance(document.get("inputs"), list)
        ):
            return _decode_document(limits, manifest, {}, line)
        start, end = (b'{"instances":[', b"]}") if _takes_row(manifest) else (b'{"inputs":', b"}")
        return _decode_serving("predict", limits, manifest, {}, start + line.strip() + end)
    except RequestError as error:
        return MalformedRequest(f"line {number}: {error}")


def _takes_row(manifest: Manifest) -> bool:
    """Whether one row is a whole request."""
    single = manifest.max_batch_size or all(spec.shape[:1] == (1,) for spec in manifest.inputs)
    return bool(single) and takes_rows(manifest)


def _encode_line(task: Task, answer: Answer) -> bytes | OnnxliftError:
    if isinstance(answer, OnnxliftError) and answer.retryable:
        raise answer  # the whole job comes again
    try:
        return task.encode([answer]).body
    except OnnxliftError as error:
        return error


def _joined(written: Sequence[bytes | OnnxliftError], *, may_fail: bool) -> Response:
    """One line for each; raises the first failure where nothing but failures came and they are the
    whole file.
    """
    failures = [item for item in written if isinstance(item, OnnxliftError)]
    if len(failures) == len(written) and not may_fail:
        raise failures[0]
    lines = [
        json.dumps({"error": str(item)}).encode() if isinstance(item, OnnxliftError) else item
        for item in written
    ]
    return Response(
        200, b"".join(line + b"\n" for line in lines), {"Content-Type": "application/x-ndjson"}
    )


Decoder = Callable[[Limits, Manifest, Mapping[str, str], bytes], Task]
_DECODERS: Final[dict[str, Decoder]] = {
    "": _decode_infer,
    "json": _decode_document,
    "jsonl": _decode_lines,
    "npy": _decode_npy,
    "npz": _decode_npz,
    "image": _decode_image,
    "text": _decode_text,
    **{verb: partial(_decode_serving, verb) for verb in SERVING_VERBS},
}
