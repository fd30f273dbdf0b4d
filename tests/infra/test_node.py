"""Which Node runs the CDK, and where its command line comes from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra import node
from onnxlift_runtime.errors import ToolMissing
from tests.infra.assembly import ROOT
from tests.support.errors import raises


def write_program(path: Path, prints: str) -> Path:
    """A program that prints one line, whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o755)
    return path


def write_pin(root: Path, pinned: str, installed: str | None) -> None:
    lock = {"packages": {"node_modules/aws-cdk": {"version": pinned}}}
    (root / "package-lock.json").write_text(json.dumps(lock))
    if installed is not None:
        package = root / "node_modules" / "aws-cdk" / "package.json"
        package.parent.mkdir(parents=True)
        package.write_text(json.dumps({"version": installed}))


@pytest.mark.parametrize("version", ["v22.0.0", "v24.19.0", "v27.1.0"])
def test_find_node_takes_the_machines_own_when_the_cdk_supports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    program = write_program(tmp_path / "node", version)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert node.find_node() == str(program)


@pytest.mark.parametrize("version", ["v20.20.2", "v8.0.0", "nonsense", ""])
def test_find_node_takes_the_one_from_pypi_when_the_machines_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    write_program(tmp_path / "node", version)
    monkeypatch.setenv("PATH", str(tmp_path))

    found = node.find_node()

    assert Path(found).is_relative_to(node.wheel_folder())
    assert node.node_major(found) >= node.MINIMUM_MAJOR


def test_find_node_says_what_to_do_when_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with raises(ToolMissing, f"Node {node.MINIMUM_MAJOR}"):
        node.find_node()


def test_node_environment_puts_this_python_and_that_node_first() -> None:
    environ = node.node_environment({"PATH": "/usr/bin", "HOME": "/home/me"}, "/opt/node/bin/node")

    assert environ["PATH"].split(os.pathsep) == [
        str(Path(sys.executable).parent),
        "/opt/node/bin",
        "/usr/bin",
    ]
    assert environ["JSII_NODE"] == "/opt/node/bin/node"
    assert environ["HOME"] == "/home/me"


def test_node_environment_leaves_what_the_user_silenced() -> None:
    name = "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION"

    assert node.node_environment({}, "node")[name] == "1"
    assert node.node_environment({name: "0"}, "node")[name] == "0"


def test_install_cdk_leaves_the_pinned_version_alone(tmp_path: Path) -> None:
    write_pin(tmp_path, pinned="2.1.0", installed="2.1.0")

    assert node.install_cdk(tmp_path) == tmp_path / "node_modules" / "aws-cdk" / "bin" / "cdk"
    assert not (tmp_path / ".onnxlift").exists()


@pytest.mark.parametrize("installed", [None, "3.0.0"])
def test_install_cdk_puts_the_pinned_version_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: str | None
) -> None:
    write_pin(tmp_path, pinned="2.1.0", installed=installed)
    for name in ("package.json", ".npmrc"):
        (tmp_path / name).touch()
    monkeypatch.setattr(node, "wheel_folder", lambda: tmp_path / "wheel")
    made = (
        'mkdir -p node_modules/aws-cdk && echo \'{"version": "2.1.0"}\' > '
        "node_modules/aws-cdk/package.json"
    )
    npm = write_program(tmp_path / "wheel" / "bin" / "node", "")
    npm.write_text(f"#!/bin/sh\n{made}\n")

    node.install_cdk(tmp_path)

    package = tmp_path / "node_modules" / "aws-cdk" / "package.json"
    assert json.loads(package.read_text()) == {"version": "2.1.0"}
    assert list((tmp_path / ".onnxlift").iterdir()) == []


def test_install_cdk_repeats_what_npm_says_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pin(tmp_path, pinned="2.1.0", installed=None)
    for name in ("package.json", ".npmrc"):
        (tmp_path / name).touch()
    monkeypatch.setattr(node, "wheel_folder", lambda: tmp_path / "wheel")
    write_program(tmp_path / "wheel" / "bin" / "node", "").write_text(
        "#!/bin/sh\necho no network >&2\nexit 1\n"
    )

    with raises(ToolMissing, "no network"):
        node.install_cdk(tmp_path)

    assert not (tmp_path / "node_modules").exists()
    assert list((tmp_path / ".onnxlift").iterdir()) == []


def test_the_lock_file_pins_the_version_that_package_json_names_and_no_address() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    lock = (ROOT / "package-lock.json").read_text()

    pinned = json.loads(lock)["packages"]["node_modules/aws-cdk"]["version"]

    assert package["devDependencies"] == {"aws-cdk": pinned}
    assert "resolved" not in lock
    assert "://" not in lock


def test_the_command_refuses_a_program_that_it_does_not_know() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.node", "yarn"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (1, "usage: python -m infra.node cdk|node ARGUMENTS\n")


def test_the_command_becomes_the_program_with_its_arguments_and_status() -> None:
    program = (
        "console.error(fs.realpathSync(process.env.JSII_NODE) === process.execPath); "
        "process.exit(7)"
    )

    done = subprocess.run(
        [sys.executable, "-m", "infra.node", "node", "-e", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (7, "true\n")


def test_a_deployment_is_not_begun_without_a_container_engine() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.node", "cdk", "deploy", "--all"],
        cwd=ROOT,
        env={**os.environ, "CDK_DOCKER": "no-such-engine"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "error: no-such-engine, which CDK_DOCKER names, is not on this machine; "
        "start one, or install podman (Debian: apt-get install podman runc)\n"
    )
