"""Task scale-in protection: on while anything is held, off when idle, and never a reason to
stop.
"""

import itertools
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from gpu_fallback.protection import (
    EXPIRES_MINUTES,
    REST_AFTER_S,
    REST_S,
    Protection,
    agent,
    put_state,
)
from tests.support.errors import raises

ON = {"ProtectionEnabled": True, "ExpiresInMinutes": EXPIRES_MINUTES}
OFF = {"ProtectionEnabled": False}


class Agent:
    """An ECS agent that remembers what it was asked, and a clock that stands where it is put."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.now_s = 1_000.0
        self.refusing = False

    def put(self, state: Mapping[str, Any]) -> None:
        self.asked.append(state)
        if self.refusing:
            raise OSError("connection refused")


@pytest.fixture
def ecs() -> Agent:
    return Agent()


@pytest.fixture
def protection(ecs: Agent) -> Protection:
    return Protection(ecs.put, lambda: ecs.now_s)


def test_it_is_asked_once_for_what_is_held_and_once_when_idle(
    ecs: Agent, protection: Protection
) -> None:
    for held in [False] * 3 + [True] * 50 + [False] * 100:
        ecs.now_s += 1
        protection.update(held=held)

    assert ecs.asked == [ON, OFF]


def test_it_is_renewed_before_it_expires(ecs: Agent, protection: Protection) -> None:
    asked_s = []
    for _ in range(4 * 3600):
        ecs.now_s += 1
        before = len(ecs.asked)
        protection.update(held=True)
        asked_s += [ecs.now_s] * (len(ecs.asked) - before)

    assert set(map(json.dumps, ecs.asked)) == {json.dumps(ON)}
    assert all(
        later - sooner < EXPIRES_MINUTES * 60 / 2 for sooner, later in itertools.pairwise(asked_s)
    )


def test_a_short_pause_between_two_jobs_keeps_it(ecs: Agent, protection: Protection) -> None:
    for held in [True, *[False] * 10, True]:
        ecs.now_s += 1
        protection.update(held=held)

    assert ecs.asked == [ON]


def test_a_refusal_is_logged_and_asked_again_later(
    ecs: Agent, protection: Protection, capsys: pytest.CaptureFixture[str]
) -> None:
    ecs.refusing = True
    for _ in range(12):
        ecs.now_s += 1
        protection.update(held=True)
    ecs.refusing = False
    for _ in range(12):
        ecs.now_s += 1
        protection.update(held=True)

    assert ecs.asked == [ON] * 3
    assert capsys.readouterr().out.count("task protection not set") == 2


@pytest.mark.parametrize(
    "uri",
    [
        "https://169.254.170.2/api/x",
        "http://10.0.0.1/api/x",
        "http://127.0.0.1:1/api",
        "http://agent.example/api",
        "file:///etc/passwd",
        "http://[::1",
        "169.254.170.2",
    ],
)
def test_only_a_link_local_address_is_asked(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert agent({"ECS_AGENT_URI": uri}) is None
    assert "task protection is off" in capsys.readouterr().out


def test_outside_ecs_nobody_is_asked() -> None:
    protection = Protection(agent({}))

    protection.update(held=True)

    assert agent({"ECS_AGENT_URI": "http://169.254.170.2/api/0123"}) is not None


@contextmanager
def answering(status: int, document: Any) -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    """An HTTP server that gives one answer to everything: its port, and what it was asked."""
    asked: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            asked.append(
                (self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            )
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port, asked
        server.shutdown()
        thread.join()


def test_the_agent_gets_the_state_as_json() -> None:
    with answering(200, {"protection": {"ProtectionEnabled": True, "TaskArn": "arn"}}) as (
        port,
        asked,
    ):
        put_state("127.0.0.1", port, "/api/0123/task-protection/v1/state", ON)

    assert asked == [("/api/0123/task-protection/v1/state", ON)]


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (200, {"failure": {"Reason": "DEPLOYMENT_BLOCKED"}}),
        (400, {"error": {"Code": "ThrottlingException"}}),
        (500, []),
    ],
)
def test_what_the_agent_does_not_agree_to_is_an_error(status: int, document: Any) -> None:
    with (
        answering(status, document) as (port, _),
        raises(ValueError, status),
    ):
        put_state("127.0.0.1", port, "/", ON)


def test_a_worker_that_always_has_jobs_rests_once_an_hour_so_that_a_deployment_can_end_it(
    ecs: Agent, protection: Protection
) -> None:
    asked_s = []
    for _ in range(round(REST_AFTER_S + REST_S) + 10):
        ecs.now_s += 1
        before = len(ecs.asked)
        protection.update(held=not protection.resting)
        asked_s += [ecs.now_s] * (len(ecs.asked) - before)

    assert ecs.asked[-2:] == [OFF, ON]
    assert asked_s[-2] - asked_s[0] == pytest.approx(REST_AFTER_S, abs=2)
    assert asked_s[-1] - asked_s[-2] == pytest.approx(REST_S, abs=2)


def test_what_is_held_is_protected_while_it_wants_to_rest(
    ecs: Agent, protection: Protection
) -> None:
    for _ in range(round(2 * REST_AFTER_S)):
        ecs.now_s += 1
        protection.update(held=True)

    assert protection.resting
    assert OFF not in ecs.asked


def test_an_agent_that_does_not_answer_keeps_nobody_from_working(
    ecs: Agent, protection: Protection
) -> None:
    protection.update(held=True)
    ecs.refusing, ecs.now_s = True, ecs.now_s + REST_AFTER_S

    protection.update(held=False)

    assert not protection.resting
