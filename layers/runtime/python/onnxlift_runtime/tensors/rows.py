"""Which models fit the row layout of TensorFlow Serving, which stacks rows in dimension 0."""

from onnxlift_runtime.errors import InputMismatch
from onnxlift_runtime.manifest import Manifest, TensorSpec


def takes_rows(manifest: Manifest) -> bool:
    """Whether every input and output has its rows in dimension 0."""
    return not any(_obstacles(manifest))


def require_rows(manifest: Manifest, advice: str) -> None:
    """Raise ``InputMismatch`` with the input or output that has not, and with what to do
    instead.
    """
    for obstacle in filter(None, _obstacles(manifest)):
        raise InputMismatch(
            f"rows are stacked in dimension 0, but {obstacle}; {advice}, or use the Open Inference "
            f"Protocol: POST /v2/models/{manifest.name}/infer"
        )


def _obstacles(manifest: Manifest) -> list[str]:
    return [_obstacle(spec, manifest) for spec in (*manifest.inputs, *manifest.outputs)]


def _obstacle(spec: TensorSpec, manifest: Manifest) -> str:
    """Without batches any dimension 0 will do."""
    axis = manifest.batch_axis(spec.name) if manifest.max_batch_size else 0
    if axis is None or not spec.shape:
        return f"{spec.name!r} {list(spec.shape)} has no batch"
    return f"{spec.name!r} {list(spec.shape)} has its batch in {axis}" if axis else ""
