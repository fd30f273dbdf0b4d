"""The bucket where it does not give what it was asked for."""

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from onnxlift_runtime.aws.objects import ObjectStore
from onnxlift_runtime.errors import NotFound, RequestError
from onnxlift_runtime.jobs.job import Payload
from tests.support.errors import raises

NAMED = Payload({}, "", 1, None, "data", "in/tiny/a.npy", "1")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    return ObjectStore(boto3.client("s3", region_name="us-east-1"), "data")


@pytest.fixture
def stub(store: ObjectStore) -> Stubber:
    stub = Stubber(store._client)
    stub.activate()
    return stub


@pytest.mark.parametrize(
    "code", ["NoSuchKey", "NoSuchVersion", "InvalidArgument", "KeyTooLongError"]
)
def test_what_names_no_object_does_not_exist(store: ObjectStore, stub: Stubber, code: str) -> None:
    stub.add_client_error("get_object", code)

    with raises(NotFound, "'in/tiny/a.npy'"):
        store.fetch(NAMED, 10)


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidObjectState"])
def test_an_object_that_may_not_be_read_is_told_to_whoever_named_it(
    store: ObjectStore, stub: Stubber, code: str
) -> None:
    stub.add_client_error("get_object", code)
    stub.add_client_error("get_object", code)
    stub.add_client_error("head_object", "403")

    with raises(RequestError, code):
        store.fetch(NAMED, 10)
    with raises(RequestError, code):
        list(store.read(NAMED))
    with raises(RequestError, 403):
        store.describe(NAMED.key)


def test_a_failure_that_is_nobodys_stays_s3s_own(store: ObjectStore, stub: Stubber) -> None:
    stub.add_client_error("get_object", "ExpiredToken")
    stub.add_client_error("copy_object", "NoSuchKey")

    with raises(ClientError, "ExpiredToken"):
        store.fetch(NAMED, 10)
    with raises(ClientError, "NoSuchKey"):  # the notifier logs it and goes on
        store.copy(NAMED, "out/tiny/a.npy.json")
