"""The emulator of AWS, in an environment of its own because it pins libraries that ours has
newer.
"""

import hashlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from onnxlift.local.process import stop
from onnxlift_runtime.errors import ServiceUnreachable, ToolMissing
from tests.e2e.containers import Network

ACCOUNT: Final = "123456789012"
REGION: Final = "us-east-1"
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": ACCOUNT,
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_REGION": REGION,
}
LAUNCHER: Final = Path(__file__).with_name("launch.py")
STARTS_WITHIN_S: Final = 60


def install(root: Path) -> Path:
    """The Python of the emulator's environment, made anew when requirements/e2e.txt has changed;
    raises ToolMissing.
    """
    locked, folder = root / "requirements" / "e2e.txt", root / ".onnxlift" / "e2e"
    python, stamp = folder / "bin" / "python", folder / "installed"
    digest = hashlib.sha256(locked.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return python
    _run(sys.executable, "-m", "venv", "--clear", str(folder))
    _run(
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "-r",
        str(locked),
    )
    stamp.write_text(digest)
    return python


@contextmanager
def running_emulator(python: Path, network: Network, docker: str, folder: Path) -> Iterator[str]:
    """The emulator's URL on the network's gateway: what the containers reach is not open to any
    other machine.
    """
    port = _free_port(network.gateway)
    url = f"http://{network.gateway}:{port}"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "BIND_HOST": network.gateway,
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        # every function in a container, those from a zip in the base of our images
        "LAMBDA_EXECUTOR": "docker",
        "LAMBDA_DOCKER_NETWORK": network.name,
        "DOCKER_HOST": docker,
        "AWS_ENDPOINT_URL": url,
        "TMPDIR": str(folder),
        "S3_DATA_DIR": str(folder / "s3"),
        "STATE_DIR": str(folder / "state"),
    }
    log = folder / "emulator.log"
    with (
        log.open("w") as lines,
        subprocess.Popen(
            [python, "-P", LAUNCHER], cwd=folder, env=environ, stdout=lines, stderr=lines, text=True
        ) as process,
    ):
        try:
            _wait_until_ready(url, process, log)
            yield url
        finally:
            stop(process)


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as server:
        return int(server.getsockname()[1])


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolMissing(
            f"the emulator cannot be installed: "
            f"{(done.stderr.strip().splitlines() or ['no reason'])[-1]}"
        )


def _wait_until_ready(url: str, process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_ministack/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise ServiceUnreachable(f"the emulator does not answer at {url}: {log.read_text()[-500:]}")
