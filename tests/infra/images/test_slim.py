"""What is taken out of an image's packages."""

import re
from pathlib import Path

import pytest

from infra.images.slim import LEFT_OUT, SERVICE_DATA, SERVICES, size_bytes, slim
from tests.support.errors import raises


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder in which every pattern finds a file of 10 bytes, and botocore describes one service
    too many.
    """
    for pattern in LEFT_OUT:
        path = tmp_path / pattern.replace("**", "inner").replace("*", "any")
        folder = path if "." not in path.name and "lib" not in path.name[:3] else path.parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (path.name if folder != path else "file")).write_bytes(b"0123456789")
    for service in (*SERVICES, "braket"):
        (tmp_path / SERVICE_DATA / service).mkdir(parents=True)
        (tmp_path / SERVICE_DATA / service / "service-2.json.gz").write_bytes(b"0123456789")
    (tmp_path / SERVICE_DATA / "endpoints.json").touch()
    return tmp_path


def test_slim_leaves_what_functions_load(packages: Path) -> None:
    kept = packages / "numpy" / "_core" / "multiarray.py"
    kept.write_text("here")

    slim(packages)

    assert kept.read_text() == "here"
    assert {path.name for path in (packages / SERVICE_DATA).iterdir()} == {
        *SERVICES,
        "endpoints.json",
    }


def test_slim_tells_the_bytes_that_each_pattern_took(packages: Path) -> None:
    before = size_bytes(packages)

    removed = slim(packages)

    assert set(removed) == {*LEFT_OUT, SERVICE_DATA}
    assert removed[SERVICE_DATA] == 10
    assert sum(removed.values()) == before - size_bytes(packages) > 0


@pytest.mark.parametrize("pattern", LEFT_OUT)
def test_slim_leaves_nothing_that_a_pattern_names(packages: Path, pattern: str) -> None:
    slim(packages)

    assert list(packages.glob(pattern)) == []


def test_slim_refuses_packages_in_which_a_name_is_gone(packages: Path) -> None:
    (packages / "boto3" / "examples" / "file").unlink()
    (packages / "boto3" / "examples").rmdir()

    with raises(FileNotFoundError, "boto3/examples"):
        slim(packages)


def test_slim_refuses_a_botocore_that_lacks_a_service_we_call(packages: Path) -> None:
    (packages / SERVICE_DATA / "sqs" / "service-2.json.gz").unlink()
    (packages / SERVICE_DATA / "sqs").rmdir()

    with raises(FileNotFoundError, "sqs"):
        slim(packages)


def test_the_services_that_stay_are_those_that_the_runtime_calls() -> None:
    clients = (
        Path(__file__).resolve().parents[3]
        / "layers/runtime/python/onnxlift_runtime/aws/clients.py"
    )

    called = set(re.findall(r'_client\("(\w+)"\)', clients.read_text()))

    assert called
    assert called <= set(SERVICES)
