"""Hold the drawn graph against transformers' own BERT: ``python -m
benchmarks.compression.against_torch MODEL.onnx``.

Needs torch and transformers beside the benchmark's requirements. Prints the largest absolute
difference over padded batches of several lengths, and fails above 1e-5.
"""

import sys

import numpy as np
import onnxruntime as ort
import torch
from transformers import AutoModel

from benchmarks.compression.minilm import INPUTS, weights_folder

LIMIT = 1e-5


def batch(generator: np.random.Generator, rows: int, length: int) -> dict[str, np.ndarray]:
    """Random tokens with ragged lengths, one row of full length."""
    lengths = np.append(generator.integers(3, length + 1, rows - 1), length)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    ids = generator.integers(1000, 30_000, (rows, length)) * mask
    types = generator.integers(0, 2, (rows, length)) * mask
    return dict(zip(INPUTS, (ids, mask, types), strict=True))


def embed(model: torch.nn.Module, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Mean pooling and L2 normalisation as sentence-transformers does them."""
    tensors = {name: torch.from_numpy(value) for name, value in feeds.items()}
    with torch.no_grad():
        hidden = model(**tensors).last_hidden_state
    weights = tensors["attention_mask"].unsqueeze(-1).float()
    pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
    return torch.nn.functional.normalize(pooled).numpy()


def main() -> None:
    """Compare on twelve batches and print the largest difference."""
    session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    model = AutoModel.from_pretrained(weights_folder(), attn_implementation="eager").eval()
    generator = np.random.default_rng(0)
    worst = 0.0
    for rows, length in [(1, 3), (1, 16), (1, 128), (1, 512), (4, 16), (8, 64), (16, 33), (2, 256)]:
        feeds = batch(generator, rows, length)
        worst = max(worst, float(np.abs(session.run(None, feeds)[0] - embed(model, feeds)).max()))
    print(f"largest difference from torch {torch.__version__}: {worst:.2e}")
    raise SystemExit(worst > LIMIT)


if __name__ == "__main__":
    main()
