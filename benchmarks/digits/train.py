"""Train the fp32 models of this benchmark: ``python -m benchmarks.digits.train OUT [SEED …]``
(extra ``train``).

The network and its training are the example's; each seed has its own split, so that five models are
five samples of the whole job. OUT gets ``seed-N.onnx`` and ``seed-N.npz`` with training and test
images and their classes.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from benchmarks.digits import SEEDS, TEST_SHARE
from examples.digits.train import export, train


def main() -> None:
    """Train, export and say how good each model is on its own test images."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    digits = load_digits()
    pixels = digits.images.astype(np.float32)[:, np.newaxis]
    labels = digits.target.astype(np.int64)
    for seed in map(int, sys.argv[2:] or SEEDS):
        torch.manual_seed(seed)
        parts = train_test_split(
            pixels, labels, test_size=TEST_SHARE, stratify=labels, random_state=seed
        )
        x_train, x_test, y_train, y_test = parts
        model = train(torch.from_numpy(x_train), torch.from_numpy(y_train))
        export(model, folder / f"seed-{seed}.onnx")
        np.savez_compressed(folder / f"seed-{seed}.npz", train=x_train, test=x_test, labels=y_test)
        with torch.no_grad():
            right = model(torch.from_numpy(x_test)).argmax(dim=1).numpy() == y_test
        print(f"seed {seed}: accuracy {right.mean():.4f} on {len(right)} test images")


if __name__ == "__main__":
    main()
