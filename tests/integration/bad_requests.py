"""Requests that no model can answer, in as many kinds as careless and hostile callers think of."""

import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

INFER: Final = "/v2/models/linear/infer"
PREDICT: Final = "/v1/models/linear:predict"
HEADER: Final = "Inference-Header-Content-Length"
# Written as a number: type checkers write literals to their caches as UTF-8, which has no lone
# surrogates.
LONE_SURROGATE: Final = chr(0xD800)
_WORDS: Final = ("", "x", "y", "input", "é", "\x00", "../x", "a" * 300, LONE_SURROGATE, "None")
_VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    2**70,
    1.5,
    "text",
    [],
    {},
    [[[]]],
    {"b64": "x"},
    [None],
    LONE_SURROGATE,
)


class Bad(NamedTuple):
    kind: str
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012  # never written to


def bad_requests(count: int, seed: int) -> Iterator[Bad]:
    """``count`` requests, every kind in turn, with random details that repeat for the same seed."""
    source = random.Random(seed)
    for number in range(count):
        name, make = _KINDS[number % len(_KINDS)]
        yield Bad(name, *make(source))


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4], **changes}


def _json(*inputs: Any, **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def _malformed_json(source: random.Random) -> tuple[Any, ...]:
    body = bytearray(_json(tensor()))
    cut = source.randrange(len(body))
    return (
        "POST",
        source.choice((INFER, PREDICT)),
        bytes(body[:cut]) + source.choice((b"", b"\xff", b"]]", b",")),
    )


def _random_bytes(source: random.Random) -> tuple[Any, ...]:
    return (
        "POST",
        source.choice((INFER, PREDICT)),
        b"\x01" + source.randbytes(source.randrange(200)),
    )


def _other_document(source: random.Random) -> tuple[Any, ...]:
    return "POST", source.choice((INFER, PREDICT)), json.dumps(source.choice(_VALUES)).encode()


def _wrong_field(source: random.Random) -> tuple[Any, ...]:
    field = source.choice(("name", "shape", "datatype", "data", "parameters"))
    values = [
        value for value in _VALUES if not (field == "parameters" and isinstance(value, dict | None))
    ]
    return "POST", INFER, _json(tensor(**{field: source.choice(values)}))


def _wrong_name(source: random.Random) -> tuple[Any, ...]:
    wrong = source.choice([word for word in _WORDS if word != "x"])
    return (
        "POST",
        INFER,
        _json(
            *source.choice(
                [[tensor(name=wrong)], [tensor(), tensor()], [], [tensor(), tensor(name=wrong)]]
            )
        ),
    )


def _wrong_shape(source: random.Random) -> tuple[Any, ...]:
    shape = [source.choice((-1, 0, 2, 3, 5, 7)) for _ in range(source.randrange(6))]
    return "POST", INFER, _json(tensor(shape=shape if shape != [1, 4] else [4]))


def _huge_shape(source: random.Random) -> tuple[Any, ...]:
    shape = source.choice(
        ([2**40, 4], [2**62, 4], [2**64, 2**64], [10**30, 4], [1] * 500, [2**31, 2**31, 2**31])
    )
    if source.random() < 0.5:
        return "POST", INFER, _json(tensor(shape=shape))
    return _binary(
        _json(
            {**tensor(shape=shape), "parameters": {"binary_data_size": 16}},
        ),
        b"\x00" * 16,
    )


def _wrong_datatype(source: random.Random) -> tuple[Any, ...]:
    return (
        "POST",
        INFER,
        _json(
            tensor(datatype=source.choice(("INT8", "fp32", "FP31", "BYTES", "", 7, None, "BF16")))
        ),
    )


def _wrong_values(source: random.Random) -> tuple[Any, ...]:
    data: Any = source.choice(
        (
            [1, 2, 3],
            [1] * 5,
            ["a"] * 4,
            [[1, 2], [3]],
            [True] * 4,
            [1e400] * 4,
            [1e39] * 4,
            "1234",
            [{}] * 4,
        )
    )
    return "POST", INFER, _json(tensor(data=data))


def _out_of_range(source: random.Random) -> tuple[Any, ...]:
    name, value = source.choice(
        (
            ("int8", 128),
            ("uint8", -1),
            ("int64", 2**63),
            ("uint64", 2**64),
            ("fp16", 1e6),
            ("int32", 1.5),
        )
    )
    return (
        "POST",
        f"/v2/models/same-{name}/infer",
        _json(tensor(shape=[1, 1], datatype=name.upper(), data=[value])),
    )


def _truncated_binary(source: random.Random) -> tuple[Any, ...]:
    entry = {
        "name": "x",
        "shape": [1, 4],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 16},
    }
    size = source.choice([size for size in range(40) if size != 16])
    return _binary(_json(entry), source.randbytes(size))


def _wrong_header_length(source: random.Random) -> tuple[Any, ...]:
    length = source.choice(("-1", "abc", "1e3", "999999", "9" * 40, "", "0x10", "1", "0"))
    return "POST", INFER, _json(tensor()), {HEADER: length}


def _wrong_binary_size(source: random.Random) -> tuple[Any, ...]:
    size = source.choice((-1, 2**63, "16", 1.5, None, True, 10**30))
    return _binary(_json({**tensor(), "parameters": {"binary_data_size": size}}), b"\x00" * 16)


def _broken_bytes(source: random.Random) -> tuple[Any, ...]:
    blob = source.choice(
        (b"\xff\xff\xff\xff", b"\x05\x00\x00\x00abc", b"\x01", b"\x02\x00\x00\x00\xff\xfe")
    )
    entry = {
        "name": "x",
        "shape": [1, 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(blob)},
    }
    return _binary(_json(entry), blob, "/v2/models/same-bytes/infer")


def _binary(document: bytes, blob: bytes, path: str = INFER) -> tuple[Any, ...]:
    return "POST", path, document + blob, {HEADER: str(len(document))}


def _deep_nesting(source: random.Random) -> tuple[Any, ...]:
    depth, (start, end) = (
        source.choice((90, 500, 2_000, 50_000)),
        source.choice((("[", "]"), ('{"a":', "}"))),
    )
    return "POST", source.choice((INFER, PREDICT)), (start * depth + "1" + end * depth).encode()


def _deep_data(source: random.Random) -> tuple[Any, ...]:
    data = "[" * source.choice((20, 900)) + "NaN" * source.randrange(2)
    body = '{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":' + data + "}]}"
    return "POST", source.choice((INFER, PREDICT)), body.encode()


def _bomb(source: random.Random) -> tuple[Any, ...]:
    return "POST", INFER, BOMB, {"Content-Encoding": source.choice(("gzip", "GZIP"))}


def _broken_encoding(source: random.Random) -> tuple[Any, ...]:
    packed = gzip.compress(_json(tensor()))
    body = source.choice((packed[:-9], b"plain", packed[:10], zlib.compress(b"{")))
    return (
        "POST",
        INFER,
        body,
        {"Content-Encoding": source.choice(("gzip", "deflate", "br", "zstd", "gzip, gzip"))},
    )


def _unknown_model(source: random.Random) -> tuple[Any, ...]:
    name = source.choice(
        (
            "absent",
            "linear%00",
            "..%2f..%2fetc",
            "%ff",
            "a" * 2_000,
            "linear/versions/9",
            "linear/versions/x",
        )
    )
    path = source.choice(("/v2/models/{}/infer", "/v1/models/{}:predict"))
    return "POST", path.format(name), _json(tensor())


def _wrong_verb(source: random.Random) -> tuple[Any, ...]:
    path = source.choice(
        (INFER, PREDICT, "/v2/nothing", "/%2e%2e", "/v1/models/", "/v2/models/linear/trace")
    )
    return source.choice(("DELETE", "PUT", "PATCH", "OPTIONS")), path


def _wrong_output(source: random.Random) -> tuple[Any, ...]:
    outputs = source.choice(
        (
            [{"name": "z"}],
            [{"name": "y"}, {"name": "y"}],
            [{"name": "y", "parameters": {"classification": -1}}],
            [{"name": "y", "parameters": {"shared_memory_region": "r"}}],
            [1],
            {"name": "y"},
        )
    )
    return "POST", INFER, _json(tensor(), outputs=outputs)


def _wrong_predict(source: random.Random) -> tuple[Any, ...]:
    document: dict[str, Any] = source.choice(
        (
            {},
            {"instances": []},
            {"instances": [[1, 2]], "inputs": [[1, 2]]},
            {"instances": [[1, 2, 3]]},
            {"instances": [[1, 2, 3, 4], [1, 2, 3]]},
            {"instances": [{"z": [1, 2, 3, 4]}]},
            {"instances": [{"x": [1, 2, 3, 4]}, [1, 2, 3, 4]]},
            {"instances": [{LONE_SURROGATE: 1}], "nan": float("nan")},
            {"inputs": {"x": "text"}},
            {"instances": [[1, 2, 3, 4]], "signature_name": "other"},
            {"inputs": {"b64": "!"}},
        )
    )
    return "POST", PREDICT, json.dumps(document).encode()


def _wrong_examples(source: random.Random) -> tuple[Any, ...]:
    verb, value = source.choice(("classify", "regress")), source.choice(_VALUES)
    return (
        "POST",
        f"/v1/models/pair:{verb}",
        json.dumps({"examples": [{"a": value, "b": value}]}).encode(),
    )


def _failing_graph(source: random.Random) -> tuple[Any, ...]:
    width = source.choice((1, 4, 5, 7))
    return "POST", "/v2/models/failing/infer", _json(tensor(shape=[1, width], data=[1] * width))


BOMB: Final = gzip.compress(b" " * (80 * 2**20), 9)
_KINDS: Final[list[tuple[str, Callable[[random.Random], tuple[Any, ...]]]]] = [
    (make.__name__.strip("_"), make)
    for make in (
        _malformed_json,
        _random_bytes,
        _other_document,
        _wrong_field,
        _wrong_name,
        _wrong_shape,
        _huge_shape,
        _wrong_datatype,
        _wrong_values,
        _out_of_range,
        _truncated_binary,
        _wrong_header_length,
        _wrong_binary_size,
        _broken_bytes,
        _deep_nesting,
        _deep_data,
        _broken_encoding,
        _unknown_model,
        _wrong_verb,
        _wrong_output,
        _wrong_predict,
        _wrong_examples,
        _failing_graph,
    )
]
