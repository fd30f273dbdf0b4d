"""moto inside the test process, one request at a time.

moto keeps its state in plain dictionaries, so two threads inside it can both find the condition of
a conditional write true.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """``mock_aws`` for tests with threads.

    Only a read of a queue runs beside others: it may wait there for a message that another thread
    sends.
    """
    inside, process = RLock(), BotocoreStubber.process_request

    def locked(stubber: BotocoreStubber, request: Any) -> Any:
        if _is_receive(request):
            return process(stubber, request)
        with inside:
            return process(stubber, request)

    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setattr(BotocoreStubber, "process_request", locked)
        patch.setattr(boto3, "DEFAULT_SESSION", _session())
        yield


@functools.cache
def _session() -> boto3.Session:
    """One session for all tests of a process: each new one parses botocore's files again."""
    return boto3.Session()


def _is_receive(request: Any) -> bool:
    target = request.headers.get("X-Amz-Target", b"")
    name = target.decode() if isinstance(target, bytes) else target
    return bool(name == "AmazonSQS.ReceiveMessage")
