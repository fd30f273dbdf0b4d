"""The GPU worker's image as ECS runs it, on a machine without a GPU."""

import subprocess

import pytest

from infra.images.engine import ContainerEngine
from onnxlift_runtime.settings import WorkerSettings
from tests.image.container import HARDENED, LIMITS

MEMORY = ("--memory=2g", "--memory-swap=2g", "--cpus=1")


def _run(
    engine: ContainerEngine, image: str, *command: str, **environ: str
) -> "subprocess.CompletedProcess[str]":
    told = [f"--env={name}={value}" for name, value in environ.items()]
    arguments = (
        "run",
        "--rm",
        "--network=none",
        *MEMORY,
        *HARDENED,
        *LIMITS,
        *told,
        image,
        *command,
    )
    return engine.attempt(*arguments, timeout_s=60)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("[os.getuid(), os.getgid()]", "[10001, 10001]"),
        (
            "[os.access(place, os.W_OK) for place in ('/', '/opt/python', '/opt/worker', '/tmp')]",
            "[False, False, False, True]",
        ),
    ],
)
def test_the_worker_runs_as_nobody_and_may_write_to_its_scratch_folder_alone(
    engine: ContainerEngine, worker_image: str, asked: str, answer: str
) -> None:
    done = _run(engine, worker_image, "python3", "-c", f"import os; print({asked})")

    assert done.stdout.strip() == answer


def test_onnxruntime_loads_with_its_cuda_provider_built_in(
    engine: ContainerEngine, worker_image: str
) -> None:
    done = _run(
        engine,
        worker_image,
        "python3",
        "-c",
        "import onnxruntime as o; print(o.get_available_providers())",
    )

    assert "CUDAExecutionProvider" in done.stdout


def test_a_worker_without_cuda_says_so_and_stops(
    engine: ContainerEngine, worker_image: str
) -> None:
    environ = WorkerSettings(serve="linear", stop_within_s=5).to_env()

    done = _run(engine, worker_image, **environ, AWS_DEFAULT_REGION="us-east-1")

    assert done.returncode
    assert "CUDA" in done.stdout + done.stderr
