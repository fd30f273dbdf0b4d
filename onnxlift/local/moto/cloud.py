"""S3, SQS, DynamoDB and EventBridge on this machine: moto in a process of its own, with the
service's resources made.

``open_cloud`` is this side, ``python -m onnxlift.local.moto.cloud`` the other. The socket
listens before moto is loaded, so a request that comes early is answered late and not refused.
"""

import argparse
import contextlib
import fcntl
import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from onnxlift.config import Config, load_config
from onnxlift.local import child
from onnxlift.local.account import ACCOUNT, REGION
from onnxlift_runtime import names
from onnxlift_runtime.errors import ConfigInvalid

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

HOST: Final = "127.0.0.1"
BACKLOG: Final = 256  # requests that wait while moto loads
_CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
log = logging.getLogger("onnxlift.local")


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where it answers: what ``aws --endpoint-url`` takes."""

    url: str

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """``environ`` with every AWS setting replaced by those that lead here, and to no real
        account.
        """
        others = {name: value for name, value in environ.items() if not name.startswith("AWS_")}
        return {**others, **_CREDENTIALS, "AWS_ENDPOINT_URL": self.url}

    def lines(self, service: str) -> tuple[str, ...]:
        """What a user needs to reach it."""
        return (
            f"jobs: bucket {names.bucket_name(service, ACCOUNT, REGION)}, queue "
            f"{names.public_queue_name(service)}, "
            f"table {names.table_name(service)}",
            f"AWS endpoint {self.url} (for any access key, region {REGION})",
        )


@contextlib.contextmanager
def open_cloud(config_path: Path, persist: Path | None = None) -> Iterator[Cloud]:
    """Start it with the resources of a configuration; with ``persist``, what was in it before is
    there again.

    Raises ``ConfigInvalid`` where another service keeps its jobs there, and ``OSError`` where it
    cannot be written.
    """
    with _reserved(persist), socket.create_server((HOST, 0), backlog=BACKLOG) as sock:
        arguments = [str(config_path), "--socket", str(sock.fileno())]
        if persist is not None:
            arguments += ["--persist", str(persist)]
        with child.running("onnxlift.local.moto.cloud", arguments, os.environ, (sock.fileno(),)):
            yield Cloud(f"http://{HOST}:{sock.getsockname()[1]}")


@contextlib.contextmanager
def _reserved(folder: Path | None) -> Iterator[None]:
    """Have the folder for this process alone: two that keep their jobs in it would overwrite each
    other's.
    """
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigInvalid(
                f"another service that runs keeps its jobs in {folder}; end it, or --persist in "
                f"another folder"
            ) from error
        yield


def main() -> None:
    """Serve until the parent is gone, then save what is to be kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--persist", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    stopped = threading.Event()
    child.when_orphaned(stopped.set)
    serve(
        load_config(arguments.config),
        socket.socket(fileno=arguments.socket),
        arguments.persist,
        stopped,
    )


def serve(
    config: Config, sock: socket.socket, persist: Path | None, stopped: threading.Event
) -> None:
    """Make the resources behind a port that nobody knows, then answer on ``sock`` until
    ``stopped``.
    """
    from onnxlift.local.moto import (  # boto3 loads while the first requests already queue
        resources,
        snapshot,
    )

    application = _application()
    # In this order, so that no caller finds a service without its resources: the public socket is
    # answered only once all is made, and what is kept is read before anything can change it.
    with _serving(application, None) as private:
        url = f"http://{HOST}:{private.server_port}"
        resources.create(config, url)
        if persist is not None:
            snapshot.restore(config.service, url, persist)
        with _serving(application, sock):
            while not stopped.wait(snapshot.EVERY_S):
                keep(config.service, url, persist)
        keep(config.service, url, persist)


def keep(service: str, url: str, persist: Path | None) -> None:
    """Save where that is asked for; a disk that is full may have room the next time."""
    from onnxlift.local.moto import snapshot

    if persist is not None:
        try:
            snapshot.save(service, url, persist)
        except OSError as error:
            log.warning("jobs cannot be kept in %s: %s", persist, error.strerror or error)


def _application() -> Any:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.sqs.models import SQSBackend, sqs_backends

    from onnxlift.local.moto.request_lock import RequestLock

    # For each message that it gives out moto counts the whole queue a dozen times to learn how long
    # messages are kept: 50 ms where a thousand wait. No run here is as long as that.
    setattr(SQSBackend, "is_message_valid_based_on_retention_period", lambda *_: True)  # noqa: B010

    def has_message(url: str) -> bool:
        queue = sqs_backends[ACCOUNT][REGION].queues.get(url.rpartition("/")[2])
        return queue is None or bool(queue.messages)

    return RequestLock(DomainDispatcherApplication(create_backend_app), has_message)


@contextlib.contextmanager
def _serving(application: Any, sock: socket.socket | None) -> Iterator["BaseWSGIServer"]:
    """Answer on ``sock``, or on a free port, with a thread for each connection."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import make_server

    class Handler(MotoRequestHandler):
        """Keeps connections open, which saves boto3 a thread and a handshake for each call."""

        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

    fd = None if sock is None else sock.fileno()
    server = make_server(HOST, 0, application, threaded=True, request_handler=Handler, fd=fd)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()


if __name__ == "__main__":
    main()
