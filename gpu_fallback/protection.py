"""Keeping ECS from ending this task while it works: task scale-in protection, asked of the ECS
agent.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-scale-in-protection-endpoint.html
"""

import http.client
import ipaddress
import json
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

from onnxlift_runtime import telemetry

VARIABLE: Final = "ECS_AGENT_URI"
PATH: Final = "/task-protection/v1/state"
EXPIRES_MINUTES: Final = 60  # should the worker die unheard, this is how long ECS keeps its task
RENEW_AFTER_S: Final = EXPIRES_MINUTES * 60 / 3
# Of two jobs that come soon after each other, the second finds the protection still there.
IDLE_AFTER_S: Final = 30.0
AGAIN_AFTER_S: Final = 10.0
# A deployment waits for protected tasks, and fails after three hours: who always has jobs must let
# go in between.
REST_AFTER_S: Final = 3600.0
REST_S: Final = 60.0  # in which ECS ends a task that it is to replace
TIMEOUT_S: Final = 5.0

Put = Callable[[Mapping[str, Any]], None]
Clock = Callable[[], float]


class Protection:
    """Protected while anything is held; what the agent refuses is logged and asked again, and never
    stops the work.
    """

    def __init__(self, put: Put | None, clock: Clock = monotonic) -> None:
        """``put`` asks the agent; None where there is none."""
        self._put = put
        self._clock = clock
        self._protected = False
        self._renew_at_s = 0.0
        self._again_at_s = 0.0
        self._held_at_s = 0.0
        self._since_s = 0.0
        self._rest_until_s = 0.0
        # Whether nothing more should be received, so that the protection can end.
        self.resting = False

    def update(self, *, held: bool) -> None:
        """Say whether anything is held now."""
        now_s = self._clock()
        if held:
            self._held_at_s = now_s
        self._rest(now_s)
        wanted = held or (
            self._protected and not self.resting and now_s - self._held_at_s < IDLE_AFTER_S
        )
        settled = wanted == self._protected and (not wanted or now_s < self._renew_at_s)
        if self._put is not None and not settled and now_s >= self._again_at_s:
            self._ask(self._put, wanted, now_s)

    def _rest(self, now_s: float) -> None:
        """Begin to rest after an hour of protection without a break, and end once there was one."""
        if self._protected:
            self.resting = self.resting or now_s - self._since_s >= REST_AFTER_S
        elif now_s >= self._rest_until_s:
            self.resting = False

    def _ask(self, put: Put, wanted: bool, now_s: float) -> None:
        asked: dict[str, Any] = {"ProtectionEnabled": wanted}
        try:
            put(asked | ({"ExpiresInMinutes": EXPIRES_MINUTES} if wanted else {}))
        except (OSError, http.client.HTTPException, ValueError) as error:
            telemetry.log("warning", "task protection not set", protect=wanted, why=str(error))
            self._again_at_s = now_s + AGAIN_AFTER_S
            # An agent that does not answer keeps nobody from working.
            self.resting, self._since_s = False, now_s
            return
        if wanted and not self._protected:
            self._since_s = now_s
        if not wanted:
            self._rest_until_s = now_s + REST_S
        self._protected = wanted
        self._renew_at_s = now_s + RENEW_AFTER_S


def agent(environ: Mapping[str, str]) -> Put | None:
    """Whom to ask, from the environment: only a link-local address by http, which is where ECS puts
    its agent.
    """
    uri = environ.get(VARIABLE, "")
    if not uri:
        return None
    try:
        parts = urlsplit(uri)
        host, port, path = parts.hostname or "", parts.port or 80, parts.path.rstrip("/") + PATH
        local = parts.scheme == "http" and ipaddress.ip_address(host).is_link_local
    except ValueError:
        local = False
    if not local:
        telemetry.log(
            "error",
            "task protection is off",
            why=f"{VARIABLE} is {uri!r}, expected http to a local address",
        )
        return None
    return lambda state: put_state(host, port, path, state)


def put_state(host: str, port: int, path: str, state: Mapping[str, Any]) -> None:
    """One request to the agent; raises ``OSError``, ``HTTPException`` or ``ValueError`` where it
    does not agree.
    """
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("PUT", path, json.dumps(state), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read(4096).decode(errors="replace")
    finally:
        connection.close()
    document = json.loads(text or "{}")
    if answer.status != 200 or not isinstance(document, dict) or "protection" not in document:
        raise ValueError(f"the ECS agent answered {answer.status}: {text[:300]}")
