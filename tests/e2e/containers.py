"""A container engine as the emulator wants it: docker's socket, and a network whose gateway is this
machine.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.images.engine import ContainerEngine
from onnxlift.local.process import stop
from onnxlift_runtime.errors import ServiceUnreachable

ANCHOR: Final = ("--entrypoint=sleep", "--detach", "--rm")
ANSWERS_WITHIN_S: Final = 30


@dataclass(frozen=True, slots=True)
class Network:
    """Where containers run, and the address at which they reach this machine and nobody else
    does.
    """

    name: str
    gateway: str


@contextmanager
def docker_host(engine: ContainerEngine, folder: Path) -> Iterator[str]:
    """The address of docker's API; podman serves it for as long as the block lasts."""
    if Path(engine.program).name != "podman":
        yield os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        return
    path = folder / "podman.sock"
    command = [engine.program, "system", "service", "--time=0", f"unix://{path}"]
    with (
        (folder / "podman.log").open("w") as log,
        subprocess.Popen(
            command, stderr=log, text=True, env={**os.environ, **engine.environment}
        ) as process,
    ):
        try:
            _wait_for_socket(path)
            yield f"unix://{path}"
        finally:
            stop(process)


@contextmanager
def bridge(engine: ContainerEngine, image: str) -> Iterator[Network]:
    """A network of our own, which a container of ``image`` keeps up for as long as the block
    lasts.
    """
    name = f"onnxlift-e2e-{os.getpid()}"
    engine.run("network", "create", name)
    try:
        anchor = engine.run(
            "run", *ANCHOR, f"--network={name}", f"--name={name}", image, "infinity"
        )
        yield Network(
            name, _gateway(json.loads(engine.run("container", "inspect", anchor))[0], name)
        )
    finally:
        # What the emulator started and did not end goes too.
        left = engine.attempt("ps", "--all", "--quiet", f"--filter=network={name}").stdout.split()
        engine.attempt("rm", "--force", "--volumes", *left)
        engine.attempt("network", "rm", name)


def _gateway(container: dict[str, Any], network: str) -> str:
    return str(container["NetworkSettings"]["Networks"][network]["Gateway"])


def _wait_for_socket(path: Path) -> None:
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(str(path)) == 0:
                return
        time.sleep(0.1)
    raise ServiceUnreachable(f"podman does not serve {path} within {ANSWERS_WITHIN_S} s")
