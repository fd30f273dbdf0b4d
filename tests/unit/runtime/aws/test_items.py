"""Jobs as DynamoDB's items: the same that boto3's own serializer writes, and the same jobs
again.
"""

from dataclasses import asdict, replace
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.aws.items import decode_item, decode_values, encode_item, encode_value
from onnxlift_runtime.jobs.job import Delivery, Job, JobStatus, Payload
from tests.support.errors import raises

NUMBERS = st.integers(-(10**37), 10**37)
VALUES = st.recursive(
    st.text() | NUMBERS | st.booleans() | st.none() | st.binary() | st.sampled_from(JobStatus),
    lambda values: st.dictionaries(st.text(), values),
)
KEEP_DAYS = 1
COUNTS = st.integers(0, 10**15)
PAYLOADS = st.builds(
    Payload,
    st.dictionaries(st.text(), st.text()),
    st.text(),
    COUNTS,
    st.none() | st.binary(),
    st.text(),
    st.text(),
)
DELIVERIES = st.builds(Delivery, st.text(), st.text(), st.text(), st.text(), st.text(), COUNTS)
TEXTS = {
    name: st.text()
    for name in ("id", "caller", "model", "version", "tier", "reason", "lease_owner", "error")
}
JOBS = st.builds(
    Job,
    payload=PAYLOADS,
    created_ms=COUNTS,
    expires_ms=COUNTS,
    finished_ms=COUNTS,
    status=st.sampled_from(JobStatus),
    result=st.none() | PAYLOADS,
    delivery=DELIVERIES,
    **TEXTS,
)


@given(VALUES)
def test_a_value_is_encoded_as_boto3_does(value: Any) -> None:
    encoded = encode_value(value)

    assert encoded == TypeSerializer().serialize(value)
    assert decode_values({"value": encoded}) == {"value": value}


@given(JOBS)
def test_a_job_is_encoded_as_boto3_does(job: Job) -> None:
    item = encode_item(job, KEEP_DAYS)

    extra = item.keys() - asdict(job).keys()
    fields = {name: value for name, value in item.items() if name not in extra}
    assert fields == TypeSerializer().serialize(asdict(job))["M"]
    assert extra == ({"expire_at_s"} if job.final else {"queue"})


@given(JOBS)
def test_an_item_keeps_every_field(job: Job) -> None:
    item = encode_item(job, KEEP_DAYS)

    assert decode_item(item) == job


@given(JOBS)
def test_an_item_of_an_index_is_a_job_without_what_the_index_lacks(job: Job) -> None:
    item = encode_item(job, KEEP_DAYS)

    found = decode_item(
        {
            name: value
            for name, value in item.items()
            if name not in {"payload", "result", "delivery"}
        }
    )

    assert found == replace(job, payload=Payload({}, "", 0), result=None, delivery=Delivery())


@given(st.sets(st.integers(0, 10**6), min_size=1), st.sets(st.text(), min_size=1))
def test_sets_are_decoded_as_boto3_does(numbers: set[int], texts: set[str]) -> None:
    item = {
        name: TypeSerializer().serialize(value)
        for name, value in {"numbers": numbers, "texts": texts}.items()
    }

    decoded = decode_values(item)

    assert decoded == {name: TypeDeserializer().deserialize(value) for name, value in item.items()}


@pytest.mark.parametrize("value", [1.5, [1], {1}])
def test_a_value_of_another_type_is_refused(value: Any) -> None:
    with raises(TypeError, type(value).__name__):
        encode_value(value)


@given(JOBS)
def test_what_a_newer_release_has_written_besides_is_left_out(job: Job) -> None:
    item = encode_item(job, KEEP_DAYS)
    later = {"later": encode_value("a value")}

    item |= later
    item["payload"]["M"] |= later
    item["delivery"]["M"] |= later

    assert decode_item(item) == decode_item(encode_item(job, KEEP_DAYS))
