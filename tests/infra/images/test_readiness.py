"""What is looked at before a deployment begins; a script stands for the container engine."""

from pathlib import Path

from infra.assets import DOCKERFILE
from infra.images.bases import base_of
from infra.images.engine import CHOSEN
from infra.images.readiness import deploying_environment
from onnxlift_runtime.errors import ImageFailed, ToolMissing
from tests.infra.images.conftest import install
from tests.support.errors import raises

ROOT = Path(__file__).resolve().parents[3]
# An engine that has every image, each of which is a stand-in, or none of which is one.
STAND_INS = '[ "$1 $3" = "image --format" ] && echo true; exit 0'
REAL = "exit 0"
EMULATED = {"AWS_ENDPOINT_URL": "http://localhost:4566"}


def test_the_cdk_builds_with_the_engine_that_answers(machine: Path) -> None:
    install(machine, "podman", REAL)

    environment = deploying_environment(ROOT, {})

    assert environment[CHOSEN] == "podman"


def test_a_deployment_without_an_engine_says_what_to_start(machine: Path) -> None:
    with raises(ToolMissing, "neither", "docker", "podman"):
        deploying_environment(ROOT, {})


def test_a_stand_in_is_not_sent_to_a_real_account(machine: Path) -> None:
    install(machine, "docker", STAND_INS)

    with raises(ImageFailed, f"docker rmi {base_of(ROOT / DOCKERFILE)}"):
        deploying_environment(ROOT, {})


def test_a_stand_in_is_good_for_an_emulator(machine: Path) -> None:
    install(machine, "docker", STAND_INS)

    assert deploying_environment(ROOT, EMULATED)[CHOSEN] == "docker"
