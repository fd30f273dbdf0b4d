# mypy: disable-error-code="misc, no-any-return"
# torch is an extra: where it is not installed its classes have no types.
"""Train the digits model that this folder ships: ``python -m examples.digits.train`` (needs the
extra ``train``).

A small convolutional network on scikit-learn's 1,797 handwritten digits (8×8 pixels of 0..16). 360
images are held out before anything else happens and are never trained or calibrated on; the
calibration samples are training images. Seeds, threads and algorithms are fixed, so that one
version of torch on one kind of CPU gives the same file again.
"""

from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

FOLDER: Final = Path(__file__).parent
SEED: Final = 7
HELD_OUT: Final = 360
CALIBRATION: Final = 200
EPOCHS: Final = 60
BATCH: Final = 64
OPSET: Final = 21
BRIGHTEST: Final = 16.0


class DigitsNet(nn.Module):
    """Raw pixels [N, 1, 8, 8] of 0..16 to ten probabilities [N, 10]; scaling and Softmax are part
    of the graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
        )
        self.classifier = nn.Sequential(
            nn.Linear(512, 96), nn.ReLU(), nn.Dropout(0.3), nn.Linear(96, 10)
        )

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the loss is taken of: [N, 10], before Softmax."""
        scores: torch.Tensor = self.classifier(self.features(pixels / BRIGHTEST))
        return scores

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.logits(pixels), dim=-1)


def main() -> None:
    """Train, export and write everything the example ships."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    digits = load_digits()
    pixels = digits.images.astype(np.float32)[:, np.newaxis]
    labels = digits.target.astype(np.int64)
    x_train, x_held, y_train, y_held = train_test_split(
        pixels, labels, test_size=HELD_OUT, stratify=labels, random_state=SEED
    )
    model = train(torch.from_numpy(x_train), torch.from_numpy(y_train))
    np.savez_compressed(
        FOLDER / "calibration.npz", pixels=x_train[:CALIBRATION], labels=y_train[:CALIBRATION]
    )
    np.savez_compressed(FOLDER / "heldout.npz", pixels=x_held, labels=y_held)
    export(model, FOLDER / "digits.onnx")
    with torch.no_grad():
        right = model(torch.from_numpy(x_held)).argmax(dim=1).numpy() == y_held
    print(f"held-out accuracy {right.mean():.4f} on {len(right)} images")


def train(pixels: torch.Tensor, labels: torch.Tensor) -> DigitsNet:
    """Train on images shifted by up to one pixel, with a learning rate that falls to zero."""
    model = DigitsNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(pixels)).split(BATCH):
            loss = nn.functional.cross_entropy(model.logits(shifted(pixels[rows])), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return model.eval()


def shifted(pixels: torch.Tensor) -> torch.Tensor:
    """Move each image by -1, 0 or 1 pixel in both directions; what leaves one side is lost."""
    padded = nn.functional.pad(pixels, (1, 1, 1, 1))
    corners = torch.randint(0, 3, (len(pixels), 2)).tolist()
    return torch.stack(
        [image[:, y : y + 8, x : x + 8] for image, (y, x) in zip(padded, corners, strict=True)]
    )


def export(model: DigitsNet, path: Path) -> None:
    """Write one self-contained ONNX file with a variable batch, without the exporter's notes about
    this machine.
    """
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 1, 8, 8),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["pixels"],
        output_names=["probabilities"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
    )
    if program is None:
        raise RuntimeError("torch exported nothing")
    proto = program.model_proto
    for item in [
        proto,
        proto.graph,
        *proto.graph.node,
        *proto.graph.value_info,
        *proto.graph.initializer,
    ]:
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for declared in [*proto.graph.input, *proto.graph.output]:
        declared.ClearField("metadata_props")
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
