"""What a worker computes on: TensorRT where its libraries are, else CUDA, and the CPU only where
that is allowed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onnxlift_runtime import telemetry
from onnxlift_runtime.dataplane.session import CPU, Device, device_obstacle, has_provider
from onnxlift_runtime.errors import DeviceMissing
from onnxlift_runtime.settings import MIB

CUDA: Final = "cuda"
TENSORRT: Final = "tensorrt"
_CUDA_PROVIDER: Final = "CUDAExecutionProvider"
_TENSORRT_PROVIDER: Final = "TensorrtExecutionProvider"
_MISSING: Final = (
    "no GPU can be used: {why}. Run the worker where there are an NVIDIA GPU, NVIDIA's container "
    "runtime and a driver "
    "for the image's CUDA, or allow it to work on the CPU with ONNXLIFT_ALLOW_CPU=true"
)


@dataclass(frozen=True, slots=True)
class Hardware:
    """What was found: why CUDA cannot be used, empty where it can, and whether TensorRT's libraries
    are there.
    """

    obstacle: str
    tensorrt: bool = False


def look() -> Hardware:
    """Look at this machine; takes seconds where CUDA has to start."""
    obstacle = device_obstacle(CUDA)
    return Hardware(obstacle, not obstacle and has_provider(_TENSORRT_PROVIDER))


def choose_device(found: Hardware, *, allow_cpu: bool, memory_mb: int, cache: Path) -> Device:
    """The device to open models on; ``memory_mb`` bounds each session, 0 leaves it to the device.

    TensorRT keeps what it compiles in ``cache``. Raises ``DeviceMissing``, which says what to do.
    """
    if found.obstacle:
        if not allow_cpu:
            raise DeviceMissing(_MISSING.format(why=found.obstacle))
        telemetry.log(
            "warning",
            "no GPU: models run on the CPU, many times slower",
            device="cpu",
            why=found.obstacle,
        )
        return Device("cpu", CPU.providers, bound=True)
    cuda = (_CUDA_PROVIDER, _cuda_options(memory_mb))
    if not found.tensorrt:
        return Device(CUDA, (cuda, *CPU.providers), CUDA, bound=True)
    return Device(
        TENSORRT,
        ((_TENSORRT_PROVIDER, _tensorrt_options(cache)), cuda, *CPU.providers),
        CUDA,
        bound=True,
    )


def _cuda_options(memory_mb: int) -> dict[str, str]:
    """https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html"""
    options = {
        "device_id": "0",
        # Take what is needed, and not the next power of two.
        "arena_extend_strategy": "kSameAsRequested",
        # The default tries every algorithm on each new shape, which batches of any size keep
        # bringing.
        "cudnn_conv_algo_search": "HEURISTIC",
        # float32 then is float32, which is what the quality gate looked at; float16 is there for
        # speed.
        "use_tf32": "0",
    }
    return options | ({"gpu_mem_limit": str(memory_mb * MIB)} if memory_mb else {})


def _tensorrt_options(cache: Path) -> dict[str, str]:
    """https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html"""
    return {"device_id": "0", "trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache)}
