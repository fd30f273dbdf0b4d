"""Which container engine is taken, and what is said where there is none; a script stands for the
program.
"""

import os
import resource
from pathlib import Path

import pytest

from infra.images.bases import base_of, require_base
from infra.images.engine import CHOSEN, CONTAINERS_CONF, ContainerEngine, find_engine
from onnxlift_runtime.errors import ImageFailed, ToolMissing
from tests.infra.images.conftest import install
from tests.support.errors import raises

ROOT = Path(__file__).resolve().parents[3]
ANSWERS = "exit 0"
SILENT = "echo 'Cannot connect to the server' >&2; exit 1"
HARD = resource.RLIMIT_NOFILE


@pytest.mark.parametrize(
    ("docker", "podman", "taken"),
    [(ANSWERS, ANSWERS, "docker"), (SILENT, ANSWERS, "podman"), ("", ANSWERS, "podman")],
)
def test_the_first_engine_that_answers_is_taken(
    machine: Path, docker: str, podman: str, taken: str
) -> None:
    if docker:
        install(machine, "docker", docker)
    install(machine, "podman", podman)

    assert find_engine(machine / "settings").program == taken


def test_the_engine_that_the_cdk_uses_is_taken(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(machine, "docker", ANSWERS)
    install(machine, "podman", ANSWERS)
    monkeypatch.setenv(CHOSEN, "podman")

    assert find_engine(machine / "settings").program == "podman"


def test_an_engine_that_was_chosen_and_is_not_here_is_told_by_name(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(machine, "docker", ANSWERS)
    monkeypatch.setenv(CHOSEN, "finch")

    with raises(ToolMissing, "finch", CHOSEN):
        find_engine(machine)


def test_a_machine_without_an_engine_is_told_what_toinstall(machine: Path) -> None:
    with raises(ToolMissing, "neither", "docker", "podman"):
        find_engine(machine)


def test_an_engine_that_is_not_started_is_told_in_its_own_words(machine: Path) -> None:
    install(machine, "docker", SILENT)

    with raises(ToolMissing, "docker", "Cannot connect to the server"):
        find_engine(machine)


def test_podman_is_given_limits_that_this_machine_grants(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(machine, "podman", ANSWERS)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 20_000))

    engine = find_engine(machine / "settings")

    assert engine.environment == {CONTAINERS_CONF: str(machine / "settings" / "containers.conf")}
    assert "nofile=1024:1024" in (machine / "settings" / "containers.conf").read_text()


def test_podman_is_left_alone_where_its_own_limits_are_granted(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(machine, "podman", ANSWERS)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, resource.RLIM_INFINITY))

    assert find_engine(machine / "settings").environment == {}


def test_a_failure_is_told_in_the_engines_last_words(machine: Path) -> None:
    install(machine, "podman", "echo first >&2; echo no space left >&2; exit 125")

    with raises(ImageFailed, "podman build --file", "first", "no space left"):
        ContainerEngine("podman").run("build", "--file", "x")


def test_a_base_out_of_reach_is_told_with_the_way_around(machine: Path) -> None:
    install(machine, "podman", "exit 1")

    with raises(ImageFailed, "example/base:1", "make stand-ins"):
        require_base(ContainerEngine("podman"), "example/base:1")


def test_both_dockerfiles_name_their_base() -> None:
    assert base_of(ROOT / "handlers" / "Dockerfile") == "public.ecr.aws/lambda/python:3.13"
    assert "cudnn-runtime" in base_of(ROOT / "gpu_fallback" / "Dockerfile")
