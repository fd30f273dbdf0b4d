"""The app as processes start it: without an activated environment, with an old Node, with mistakes
in it.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from infra import node
from onnxlift_runtime.errors import ToolMissing
from onnxlift_runtime.manifest import MANIFEST_NAME, Manifest
from tests.infra.assembly import ROOT, Assembly, synthesise
from tests.infra.conftest import write_bare

SYSTEM_PYTHON = Path("/usr/bin/python3")
needs_environment = pytest.mark.skipif(
    not (ROOT / ".venv" / "bin" / "python").exists(), reason="no .venv; `make setup` makes it"
)


def run_app(
    python: Path | str, out: Path, config: Path, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Start the app with nothing in the environment but what is given."""
    context = json.dumps({"config": str(config)})
    return subprocess.run(
        [str(python), "-m", "infra.app"],
        cwd=ROOT,
        env={"CDK_OUTDIR": str(out), "CDK_CONTEXT_JSON": context, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@needs_environment
@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="this machine has no /usr/bin/python3")
def test_the_app_finds_its_environment_when_none_is_activated(tmp_path: Path) -> None:
    config = write_bare(tmp_path)

    environ = {"PATH": "/usr/bin:/bin", "CDK_VALIDATION": "false"}
    done = run_app(SYSTEM_PYTHON, tmp_path / "out", config, **environ)

    assert done.returncode == 0, done.stderr
    assert Assembly(tmp_path / "out").deployed == ["bare", "bare-data"]


def test_the_app_runs_in_silence_when_the_machines_node_is_too_old(tmp_path: Path) -> None:
    config = write_bare(tmp_path)
    old = tmp_path / "bin" / "node"
    old.parent.mkdir()
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo v20.20.2 || exit 1\n')
    old.chmod(0o755)

    done = run_app(sys.executable, tmp_path / "out", config, PATH=f"{old.parent}:/usr/bin:/bin")

    assert (done.returncode, done.stderr) == (0, "")


def test_the_app_says_what_to_do_when_its_packages_are_nowhere(tmp_path: Path) -> None:
    for name in ("__init__.py", "app.py", "interpreter.py"):
        (tmp_path / "infra").mkdir(exist_ok=True)
        shutil.copy(ROOT / "infra" / name, tmp_path / "infra")

    done = subprocess.run(
        [sys.executable, "-S", "-m", "infra.app"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (
        1,
        "error: the CDK app's packages are not installed; run `make setup`\n",
    )


def test_a_model_that_cannot_be_where_it_was_wished_stops_the_app_with_one_line(
    tmp_path: Path,
) -> None:
    config = write_bare(tmp_path)
    text = config.read_text().replace(
        "[models.later]", '[models.digits.placement]\ntier = "lambda"\n[models.later]'
    )
    config.write_text(text)
    path = tmp_path / "artifacts" / "digits" / "1" / MANIFEST_NAME
    manifest = Manifest.from_json(path.read_text())
    huge = replace(manifest, measurements=replace(manifest.measurements, peak_memory_mb=20_000))
    path.write_text(huge.to_json())

    done = synthesise(config, tmp_path / "out")

    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: model 'digits' cannot run on Lambda: needs 26,112 MB of memory"
    )
    assert done.stderr.count("\n") == 1


def test_a_mistake_in_the_configuration_stops_the_app_with_status_2(tmp_path: Path) -> None:
    config = tmp_path / "onnxlift.toml"
    config.write_text('service = "Wrong Name"\n')

    done = synthesise(config, tmp_path / "out")

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {config}: service: 'Wrong Name' is not allowed")
    assert "Traceback" not in done.stderr


def test_assets_do_not_depend_on_where_they_were_laid_out(bare: Assembly, tmp_path: Path) -> None:
    config = tmp_path / "onnxlift.toml"
    shutil.copytree(bare.folder.parent / "artifacts", tmp_path / "artifacts")
    shutil.copy(bare.folder.parent / "onnxlift.toml", config)

    done = synthesise(config, tmp_path / "out")

    assert done.returncode == 0, done.stderr
    again = Assembly(tmp_path / "out")
    assert [again.template(stack) for stack in again.stacks] == [
        bare.template(stack) for stack in bare.stacks
    ]


def test_the_pinned_command_line_synthesises_without_an_account(tmp_path: Path) -> None:
    try:
        node.install_cdk()
    except ToolMissing as error:
        pytest.skip(f"the CDK command line cannot be installed here: {error}")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    arguments = [
        "--quiet",
        "--context",
        f"config={write_bare(tmp_path)}",
        "--output",
        str(tmp_path / "out"),
    ]
    nowhere = str(tmp_path / "none")
    environ |= {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": nowhere,
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
    }

    done = subprocess.run(
        [sys.executable, "-m", "infra.node", "cdk", "synth", *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert Assembly(tmp_path / "out").deployed == ["bare", "bare-data"]
    assert "run `onnxlift compress later`" in done.stdout + done.stderr
