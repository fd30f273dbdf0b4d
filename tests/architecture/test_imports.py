"""What a cold start loads, and what the shipped code can do without."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from infra.assets import copy_files, layer_files, library_files
from onnxlift_runtime.settings import Settings
from tests.support import builders

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "layers/runtime/python"
LAPTOP_ONLY = (
    "aws_cdk",
    "aws_lambda_powertools",
    "boto3",
    "botocore",
    "click",
    "httpx",
    "onnx",
    "pydantic",
    "rich",
    "torch",
    "uvicorn",
)
CONTROL_LEAVES_OUT = (*LAPTOP_ONLY, "numpy", "onnxruntime", "orjson")
INGEST_LEAVES_OUT = tuple(name for name in CONTROL_LEAVES_OUT if name not in {"boto3", "botocore"})


def _loaded(python: str, program: str, environ: dict[str, str] | None = None) -> list[str]:
    """Run ``program`` with nothing but our shipped folders added to the path; returns the modules
    it loaded.
    """
    start = f"import sys, json; sys.path[:0] = {[str(ROOT), str(RUNTIME)]!r}\n"
    end = "\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [python, "-I", "-c", start + textwrap.dedent(program) + end],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environ or {})},
    )
    assert done.returncode == 0, done.stderr
    modules: list[str] = json.loads(done.stdout.splitlines()[-1])
    return modules


@pytest.mark.parametrize(
    ("function", "banned"),
    [
        ("predict", LAPTOP_ONLY),
        ("control", CONTROL_LEAVES_OUT),
        ("ingest", INGEST_LEAVES_OUT),
        ("escalate", INGEST_LEAVES_OUT),
    ],
)
def test_importing_a_function_stays_within_its_budget(
    function: str, banned: tuple[str, ...]
) -> None:
    modules = _loaded(sys.executable, f"import handlers.{function}")

    assert [name for name in banned if name in modules] == []


def test_recipes_and_steps_load_no_configuration() -> None:
    modules = _loaded(sys.executable, "import onnxlift.compress.recipes.presets")

    # The benchmark of compression has an environment of its own without them.
    assert [name for name in ("pydantic", "click", "rich", "boto3") if name in modules] == []


def test_an_inference_loads_nothing_more_than_its_budget(tmp_path: Path) -> None:
    builders.write_artifact(tmp_path, builders.linear(), name="linear")

    modules = _loaded(sys.executable, INFER, Settings(models_dir=tmp_path).to_env())

    assert [name for name in LAPTOP_ONLY if name in modules] == []


def test_metrics_are_written_with_what_the_layer_has_alone(tmp_path: Path) -> None:
    copy_files({**layer_files(ROOT), **library_files()}, tmp_path)
    program = MEASURE.replace("LAYER", str(tmp_path / "python"))

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    told, *places = map(json.loads, done.stdout.splitlines())
    assert (told["model"], told["run_ms"]) == ("pets", [12.0])
    assert all(str(place).startswith(str(tmp_path)) for place in places)


@pytest.mark.slow
@pytest.mark.isolated
def test_the_predict_function_runs_with_the_locked_runtime_requirements_alone(
    tmp_path: Path,
) -> None:
    builders.write_artifact(tmp_path / "models", builders.linear(), name="linear")
    python = _environment(tmp_path / "venv")

    modules = _loaded(str(python), INFER, Settings(models_dir=tmp_path / "models").to_env())

    assert "onnxruntime" in modules
    assert [name for name in LAPTOP_ONLY if name in modules] == []


def _environment(folder: Path) -> Path:
    """A new environment with the image's requirements, hashes checked; skips where they cannot be
    fetched.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-compile",
        "--disable-pip-version-check",
        "--require-hashes",
    ]
    done = subprocess.run(
        [*install, "-r", str(ROOT / "requirements/runtime.txt")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and any(
        sign in done.stderr
        for sign in ("Connection", "Temporary failure", "Max retries", "timed out")
    ):
        pytest.skip(
            f"the package registry is not reachable: {done.stderr.strip().splitlines()[-1]}"
        )
    assert done.returncode == 0, done.stderr
    return python


MEASURE = """
import json, sys
sys.path.insert(0, "LAYER")
from onnxlift_runtime import telemetry
from onnxlift_runtime.jobs import metrics
telemetry.measure({"service": "shop", "model": "pets"}, metrics.UNITS, {"run_ms": [12]})
for name in ("aws_lambda_powertools", "jmespath", "typing_extensions"):
    print(json.dumps(sys.modules[name].__file__))
"""


INFER = """
    from handlers.predict import handler
    body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    path = "/v2/models/linear/infer"
    event = {"httpMethod": "POST", "path": path, "body": json.dumps(body), "headers": {}}
    answer = handler(event, None)
    assert answer["statusCode"] == 200, answer
"""
