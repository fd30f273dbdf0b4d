"""How `onnxlift serve` starts, what it says, and how it ends."""

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import httpx
import pytest

from onnxlift.local.process import COMMAND, running_service, stop
from onnxlift_runtime.errors import ServiceUnreachable
from tests.integration.conftest import write_config
from tests.support import builders
from tests.support.errors import missing, raises
from tests.support.surroundings import ignoring

END_WITHIN_S = 60


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    return write_service(tmp_path)


def write_service(folder: Path) -> Path:
    """A model that is compressed and one that is not."""
    builders.write_artifact(folder / "artifacts", builders.linear(), name="linear")
    return write_config(folder, "linear", "absent")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[str, ...], list[str]]:
    """What a service printed before it was ready, and logged of one request."""
    with running_service(write_service(tmp_path_factory.mktemp("logs"))) as service:
        httpx.get(service.url + "/v2/models/linear?a=%0Ab")
        stop(service.process)  # a line follows its answer; after the end it is certain to be there
        return service.lines, service.log.read_text().splitlines()


def test_models_served_and_skipped_are_listed_with_the_way_out(
    logs: tuple[tuple[str, ...], list[str]],
) -> None:
    lines, _ = logs

    assert lines[0].startswith("serving linear version 1 (fp32, ")
    assert lines[1].startswith("skipping absent: ")
    assert lines[1].endswith("run `onnxlift compress absent`")


def test_every_request_is_one_line_in_the_log(logs: tuple[tuple[str, ...], list[str]]) -> None:
    _, logged = logs

    assert len(logged) == 1
    assert "GET /v2/models/linear 200 " in logged[0]


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)]
)
def test_a_signal_ends_the_service_cleanly_and_quiet_writes_no_line_for_requests(
    config_path: Path, sent: signal.Signals, status: int
) -> None:
    with running_service(config_path, ["--quiet"]) as service, httpx.Client() as kept_alive:
        kept_alive.get(service.url + "/v2")
        service.process.send_signal(sent)
        ended = service.process.wait(END_WITHIN_S)
        logged = service.log.read_text()

    assert ended == status
    assert logged == ""


def test_the_end_of_the_terminal_does_not_end_the_service_under_nohup(
    config_path: Path,
) -> None:
    with ignoring(signal.SIGHUP), running_service(config_path, ["--quiet"]) as service:
        service.process.send_signal(signal.SIGHUP)
        answer = httpx.get(service.url + "/v2")
        service.process.send_signal(signal.SIGTERM)
        ended = service.process.wait(END_WITHIN_S)

    assert answer.status_code == 200
    assert ended == 0


def test_a_half_sent_body_does_not_hold_up_the_end(config_path: Path) -> None:
    with running_service(config_path, ["--quiet"]) as service:
        port = httpx.URL(service.url).port or 0
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(
                b"POST /v2/models/linear/infer HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{"
            )
            httpx.get(service.url + "/v2")
            service.process.send_signal(signal.SIGTERM)
            ended = service.process.wait(END_WITHIN_S)

    assert ended == 0


def test_a_port_in_use_is_one_clear_line(config_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*COMMAND, "-c", str(config_path), "--port", port],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"cannot listen on 127.0.0.1 port {port}: Address already in use; choose another --port, "
        f"or 0 for any free one"
    ]


def test_a_service_without_artifacts_answers_and_says_so(tmp_path: Path) -> None:
    config_path = write_config(tmp_path, "absent")

    with running_service(config_path) as service:
        index = httpx.post(service.url + "/v2/repository/index")
        infer = httpx.post(service.url + "/v2/models/absent/infer", json={})

    assert service.lines[0].startswith("skipping absent: ")
    assert index.json() == []
    assert infer.status_code == 404


def test_a_damaged_model_is_skipped_and_leaves_the_others_alone(config_path: Path) -> None:
    folder = config_path.parent / "artifacts"
    builders.write_artifact(folder, builders.linear(), name="hurt")
    write_config(config_path.parent, "linear", "hurt")
    with (folder / "hurt/1/model.onnx").open("ab") as file:
        file.write(b"x")

    with running_service(config_path, ["--quiet"]) as service:
        hurt = httpx.get(service.url + "/v2/models/hurt/ready")
        sound = httpx.get(service.url + "/v2/models/linear/ready")

    assert any(line.startswith("skipping hurt version 1: ") for line in service.lines)
    assert (hurt.status_code, sound.status_code) == (503, 200)


def test_a_broken_manifest_is_one_line_that_names_it(config_path: Path) -> None:
    (config_path.parent / "artifacts/linear/1/manifest.json").write_text("{")

    with raises(ServiceUnreachable, "manifest.json"), running_service(config_path):
        pass


def test_a_model_that_cannot_be_placed_is_one_line(config_path: Path) -> None:
    config_path.write_text(config_path.read_text() + "[models.linear.placement]\nmemory_mb = 128\n")

    done = subprocess.run(
        [*COMMAND, "-c", str(config_path), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert missing(done.stderr, "'linear'", "256 MB", "placement.memory_mb", 128) == []


def test_a_configuration_that_is_not_there_is_exit_code_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "-c", str(tmp_path / "onnxlift.toml")],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 2
    assert "does not exist" in done.stderr


def test_the_block_ends_the_process_and_leaves_no_thread_when_the_test_fails_inside(
    config_path: Path,
) -> None:
    before = threading.active_count()

    with pytest.raises(RuntimeError), running_service(config_path) as service:
        raise RuntimeError

    assert service.process.poll() == 0
    assert threading.active_count() == before
    with pytest.raises(ProcessLookupError):
        os.kill(service.process.pid, 0)
