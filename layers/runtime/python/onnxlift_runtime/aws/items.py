"""Jobs as DynamoDB's items and back.

Jobs and notes are made of few types, which are mapped here: boto3's serializer finds each type by a
chain of questions and reads numbers as decimals, which took a worker four times as long for each
job. Tests hold the two against each other.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar

from onnxlift_runtime.jobs.job import Delivery, Job, JobStatus, Payload
from onnxlift_runtime.jobs.retention import kept_until_ms
from onnxlift_runtime.names import TABLE_TTL

Part = TypeVar("Part", Job, Payload, Delivery)
_NOT_READ: Final = Payload({}, "", 0)
_FIELDS: Final = {
    kind: tuple(field.name for field in fields(kind)) for kind in (Job, Payload, Delivery)
}


def queue_of(job: Job) -> str:
    """The queue a job waits in: its model and tier."""
    return f"{job.model}#{job.tier}"


def encode_item(job: Job, keep_days: int) -> dict[str, Any]:
    """A job as a DynamoDB item; the queue stands in it only while the job is not final, the time to
    live only after.
    """
    item = _encode_fields(job)
    if job.final:
        item[TABLE_TTL] = encode_value(kept_until_ms(job, keep_days) // 1000)
    else:
        item["queue"] = encode_value(queue_of(job))
    return item


def decode_item(item: Any) -> Job:
    """The job that ``encode_item`` wrote; from an index, without what the index does not hold.

    What a newer release has written besides is left out: while one is deployed, both work on the
    same table.
    """
    values = decode_values(item)
    values["status"] = JobStatus(values["status"])
    values["payload"] = (
        _decode_fields(Payload, values["payload"]) if "payload" in values else _NOT_READ
    )
    values["result"] = _decode_fields(Payload, values["result"]) if values.get("result") else None
    values["delivery"] = _decode_fields(Delivery, values.get("delivery", {}))
    return _decode_fields(Job, values)


def encode_value(value: Any) -> dict[str, Any]:
    """Text, a whole number, bytes, a truth value, None, a mapping, or a part of a job; raises
    ``TypeError`` for others.

    Source: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
    """
    match value:
        case str():
            return {"S": str(value)}  # plain text, of a status too
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case None:
            return {"NULL": True}
        case bytes():
            return {"B": value}
        case Payload() | Delivery():
            return {"M": _encode_fields(value)}
        case Mapping():
            return {"M": {name: encode_value(each) for name, each in value.items()}}
    raise TypeError(f"{type(value).__name__} is no type that jobs are made of")


def decode_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an item or of a mapping in it, by name; numbers are whole, also those of a
    set.
    """
    return {
        name: _DECODERS[kind](content)
        for name, value in values.items()
        for kind, content in value.items()
    }


def _encode_fields(part: Job | Payload | Delivery) -> dict[str, Any]:
    return {name: encode_value(getattr(part, name)) for name in _FIELDS[type(part)]}


def _decode_fields(kind: type[Part], values: Mapping[str, Any]) -> Part:
    return kind(**{name: value for name, value in values.items() if name in _FIELDS[kind]})


_DECODERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "S": str,
    "N": int,
    "B": bytes,
    "BOOL": bool,
    "NULL": lambda _true: None,
    "SS": set,
    "NS": lambda numbers: set(map(int, numbers)),
    "M": decode_values,
}
