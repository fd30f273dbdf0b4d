"""One request at a time, and long polls that wait outside."""

import io
import threading
from collections.abc import Iterable
from time import sleep
from typing import Any

from onnxlift.local.moto.request_lock import Application, Environ, RequestLock, StartResponse

RECEIVE = {"HTTP_X_AMZ_TARGET": "AmazonSQS.ReceiveMessage"}


class Queue:
    """An application with one queue: a receive is answered with what was sent, at once or not at
    all.
    """

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.looks: list[bytes] = []
        self.inside = self.most_inside = 0

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        sleep(0.001)
        body = environ["wsgi.input"].read()
        start("200 OK", [])
        found = b""
        if "HTTP_X_AMZ_TARGET" in environ:
            self.looks.append(body)
            found = b'{"Messages":[]}' if self.sent else b"{}"
        else:
            self.sent.append(body)
        self.inside -= 1
        return [found]


def call(application: Application, body: bytes, **environ: str) -> bytes:
    started: list[str] = []
    fields: dict[str, Any] = {
        **environ,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    answer = b"".join(application(fields, lambda status, _headers: started.append(status)))
    assert started == ["200 OK"]
    return answer


def test_requests_of_many_threads_go_in_one_at_a_time() -> None:
    queue = Queue()
    request_lock = RequestLock(queue)

    threads = [threading.Thread(target=call, args=(request_lock, b"x")) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(queue.sent) == 20
    assert queue.most_inside == 1


def test_a_long_poll_ends_with_the_message_that_another_request_brings() -> None:
    queue = Queue()
    request_lock = RequestLock(queue)
    answers: list[bytes] = []
    poll = threading.Thread(
        target=lambda: answers.append(call(request_lock, b'{"WaitTimeSeconds": 20}', **RECEIVE))
    )

    poll.start()
    while not queue.looks:
        sleep(0.001)
    call(request_lock, b"message")
    poll.join(timeout=60)

    assert answers == [b'{"Messages":[]}']


def test_a_long_poll_of_a_queue_without_messages_looks_once_whatever_wakes_it() -> None:
    queue, asked = Queue(), list[str]()

    def has_message(url: str) -> bool:
        asked.append(url)
        return bool(queue.sent)

    request_lock = RequestLock(queue, has_message)
    body = b'{"WaitTimeSeconds": 20, "QueueUrl": "q"}'
    poll = threading.Thread(target=call, args=(request_lock, body), kwargs=RECEIVE)

    poll.start()
    while not queue.looks:
        sleep(0.001)
    call(request_lock, b"", REQUEST_METHOD="PUT", HTTP_X_AMZ_TARGET="Other")
    while not asked:
        sleep(0.001)
    looks_before = [look for look in queue.looks if look]
    call(request_lock, b"message")
    poll.join(timeout=60)

    assert len(looks_before) == 1
    assert set(asked) == {"q"}
    assert len([look for look in queue.looks if look]) == 2


def test_a_message_has_only_polls_of_its_own_queue_look_again() -> None:
    queue = Queue()
    request_lock = RequestLock(queue)
    bodies = {name: b'{"WaitTimeSeconds": 2, "QueueUrl": "%s"}' % name for name in (b"a", b"b")}
    polls = [
        threading.Thread(target=call, args=(request_lock, body), kwargs=RECEIVE)
        for body in bodies.values()
    ]

    for poll in polls:
        poll.start()
    while len(queue.looks) < 2:
        sleep(0.001)
    call(
        request_lock,
        b'{"QueueUrl": "a", "MessageBody": "x"}',
        HTTP_X_AMZ_TARGET="AmazonSQS.SendMessage",
    )
    call(request_lock, b"{}", HTTP_X_AMZ_TARGET="DynamoDB_20120810.PutItem")
    while len(queue.looks) < 5:
        sleep(0.001)
    looked = [body for body in queue.looks[2:5] if b"WaitTimeSeconds" in body]
    queue.sent.append(b"the end")
    for poll in polls:
        poll.join(timeout=60)

    assert [b'"a"' in body for body in looked] == [True]


def test_a_long_poll_never_waits_inside() -> None:
    queue = Queue()
    queue.sent.append(b"there")

    call(RequestLock(queue), b'{"WaitTimeSeconds": 20, "QueueUrl": "q"}', **RECEIVE)

    assert queue.looks == [b'{"WaitTimeSeconds": 0, "QueueUrl": "q"}']


def test_a_poll_without_a_wait_is_answered_at_once() -> None:
    queue = Queue()

    answer = call(RequestLock(queue), b'{"QueueUrl": "q"}', **RECEIVE)

    assert answer == b"{}"
    assert len(queue.looks) == 1


def test_the_query_protocol_of_older_callers_waits_outside_too() -> None:
    queue = Queue()

    call(RequestLock(queue), b"Action=ReceiveMessage&WaitTimeSeconds=0")

    assert queue.sent == [b"Action=ReceiveMessage&WaitTimeSeconds=0"]
