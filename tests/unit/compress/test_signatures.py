"""Models as they are through ``compress`` and the gate, and what was written serves them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxlift.compress.pipeline import compress
from onnxlift.config import Config
from onnxlift_runtime.dataplane.session import Session
from onnxlift_runtime.errors import ConfigInvalid, SamplesInvalid
from onnxlift_runtime.manifest import Manifest
from tests.support import builders, signatures
from tests.support.compress.bench import silent
from tests.support.errors import raises
from tests.support.signatures import declare, numbers

COUNT = 40
Configure = Callable[..., Config]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Write a model with its held-out samples, and configure it as ``m`` without a search."""

    def configure(
        model: onnx.ModelProto, arrays: Mapping[str, Any], metric: str = "cosine", **changes: Any
    ) -> Config:
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        np.savez(tmp_path / "heldout.npz", **arrays)
        quality = {"samples": tmp_path / "heldout.npz", "metric": metric, "max_drop": 0.05}
        if metric.endswith("error"):
            quality = {**quality, "max_error": 0.1}
            del quality["max_drop"]
        table = {"source": tmp_path / "m.onnx", "quality": quality, "recipe": "fp32", **changes}
        folders = {"artifacts": tmp_path / "artifacts", "cache": tmp_path / "cache"}
        return Config.model_validate({"service": "s", **folders, "models": {"m": table}})

    return configure


def uneven(name: str, *shapes: tuple[int, ...]) -> dict[str, Any]:
    return {f"{name}.{row}": numbers(shape, row) for row, shape in enumerate(shapes)}


WALL: list[tuple[str, onnx.ModelProto, Mapping[str, Any], Mapping[str, int], str]] = [
    ("scalars", signatures.scalars(), {"a": numbers((COUNT,)), "b": numbers((COUNT,), 1)}, {},
     "mean_absolute_error"),
    ("a scalar beside rows", signatures.scaled(),
     {"x": numbers((COUNT, 4)), "scale": np.array(2, np.float32)}, {"x": 0, "y": 0}, "cosine"),
    ("a scalar of each sample", signatures.scaled(),
     {"x": numbers((COUNT, 4)), "scale": np.repeat(np.array([1, 2], np.float32), COUNT // 2)},
     {"x": 0, "y": 0}, "cosine"),
    ("state on axis 1", signatures.recurrent(None, None),
     {"x": numbers((COUNT, 5)), "state": numbers((COUNT, 2, 3)), "sr": np.array(2)},
     {"x": 0, "state": 1, "score": 0, "next": 1}, "mean_absolute_error"),
    ("an image without a batch", signatures.picture(), {"image": numbers((COUNT, 3, 4, 5))}, {},
     "cosine"),
    ("images of several sizes", signatures.picture(),
     uneven("image", *[(3, 4 + row % 3, 5) for row in range(COUNT)]), {}, "cosine"),
    ("rows out are not rows in", signatures.selection(), {"boxes": numbers((COUNT, 9, 6))}, {},
     "cosine"),
    ("time first", signatures.time_first(),
     uneven("line", *[(3, 6 + row % 4) for row in range(COUNT)]), {}, "top1_agreement"),
    ("time first with a batch", signatures.time_first("batch"),
     {"line": numbers((COUNT, 3, 7))}, {"line": 0, "steps": 1}, "cosine"),
    ("a batch that a Reshape fixes", signatures.baked(), {"x": numbers((COUNT, 4))}, {}, "cosine"),
    ("one output is a scalar", signatures.with_total(), {"x": numbers((COUNT, 3))},
     {"x": 0, "double": 0}, "cosine"),
    ("a batch of some inputs", signatures.with_anchors(),
     {"x": numbers((COUNT, 2)), "anchors": numbers((5, 2), 1)}, {"x": 0, "y": 0}, "cosine"),
    ("any height and width", signatures.dynamic_picture(),
     uneven("image", *[(1, 4 + row % 3, 5) for row in range(COUNT)]),
     {"image": 0, "mask": 0}, "cosine"),
    ("a fixed batch of four", builders.identity("FP32", (4, 2)), {"x": numbers((COUNT, 2))},
     {"x": 0, "y": 0}, "cosine"),
]  # fmt: skip


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("model", "arrays", "axes", "metric"), [case[1:] for case in WALL], ids=[c[0] for c in WALL]
)
def test_it_is_judged_and_written_as_it_is(
    configure: Configure,
    model: onnx.ModelProto,
    arrays: Mapping[str, Any],
    axes: Mapping[str, int],
    metric: str,
) -> None:
    outcome = compress(configure(model, arrays, metric), "m", silent)

    assert outcome.manifest.batch_axes == axes
    assert outcome.manifest.quality.samples == COUNT
    assert Manifest.from_json(outcome.manifest.to_json()) == outcome.manifest


@pytest.mark.parametrize("case", ["state on axis 1", "images of several sizes", "scalars"])
def test_it_is_measured_on_feeds_of_its_own_shape(configure: Configure, case: str) -> None:
    model, arrays, _, metric = next(item[1:] for item in WALL if item[0] == case)

    manifest = compress(configure(model, arrays, metric), "m", silent).manifest

    sizes = [item.batch_size for item in manifest.measurements.latency]
    assert sizes == ([1, 8, 32] if manifest.max_batch_size else [1])


def projecting() -> onnx.ModelProto:
    """A step of a recurrent network with weights worth storing in int8: ``x`` [batch, 64] and
    ``state`` [1, batch, 64] to ``out`` [batch, 64] and ``next`` [1, batch, 64].
    """
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["seen"], name="seen"),
        helper.make_node("MatMul", ["state", "u"], ["kept"], name="kept"),
        helper.make_node("Add", ["seen", "kept"], ["raw"]),
        helper.make_node("Tanh", ["raw"], ["next"]),
        helper.make_node("Squeeze", ["next", "first"], ["out"]),
    ]
    weights = {name: numbers((64, 64), seed) / 8 for seed, name in enumerate("wu")}
    return builders.build(
        nodes,
        [declare("x", ["batch", 64]), declare("state", [1, "batch", 64])],
        [declare("out", ["batch", 64]), declare("next", [1, "batch", 64])],
        {**weights, "first": np.array([0], np.int64)},
    )


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("recipe", ["int8-static", "int8-smooth", "blocks8-nearest"])
def test_recipes_calibrate_on_rows_of_every_axis(
    configure: Configure, tmp_path: Path, recipe: str
) -> None:
    arrays = {"x": numbers((COUNT, 64)), "state": numbers((COUNT, 1, 64), 1)}
    np.savez(tmp_path / "calibration.npz", **{name: -array for name, array in arrays.items()})
    config = configure(
        projecting(), arrays, recipe=recipe, calibration={"samples": tmp_path / "calibration.npz"}
    )

    outcome = compress(config, "m", silent)

    assert outcome.manifest.recipe == recipe
    assert outcome.manifest.size_bytes < outcome.manifest.source.size_bytes * 0.6
    session = Session(outcome.folder, outcome.manifest, threads=1, verify=True)
    feed = {"x": arrays["x"][:3], "state": arrays["state"][:3].transpose(1, 0, 2)}
    assert session.run(feed, ["next"])["next"].shape == (1, 3, 64)


@pytest.mark.usefixtures("unmeasured")
def test_a_model_without_a_batch_is_quantized_on_samples_of_several_shapes(
    configure: Configure, tmp_path: Path
) -> None:
    kernel = numbers((64, 3, 3, 3)) / 9
    node = helper.make_node("Conv", ["image", "kernel"], ["mask"], pads=[1, 1, 1, 1], name="conv")
    model = builders.build(
        [node],
        [declare("image", [1, 3, "height", "width"])],
        [declare("mask", [1, 64, "height", "width"])],
        {"kernel": kernel},
    )
    shapes = [(3, 6 + row % 3, 8) for row in range(COUNT)]
    calibration = {name: -array for name, array in uneven("image", *shapes).items()}
    np.savez(tmp_path / "calibration.npz", **calibration)
    config = configure(
        model, uneven("image", *shapes), recipe="int8-static",
        calibration={"samples": tmp_path / "calibration.npz"},
    )  # fmt: skip

    outcome = compress(config, "m", silent)

    assert outcome.manifest.recipe == "int8-static"
    assert 0.9 < outcome.manifest.quality.measured < 1.0
    assert outcome.manifest.max_batch_size == 0


@pytest.mark.usefixtures("unmeasured")
def test_frames_are_not_judged_with_the_states_of_others(configure: Configure) -> None:
    """What the first dimension of the state counts is no batch: each frame keeps its own state."""
    rows = {"x": numbers((COUNT, 5)), "state": numbers((COUNT, 2, 3)), "sr": np.array(2)}
    config = configure(signatures.recurrent(None, None), rows, "mean_absolute_error")

    outcome = compress(config, "m", silent)

    session = Session(outcome.folder, outcome.manifest, threads=1, verify=True)
    feed = {"x": rows["x"], "state": rows["state"].transpose(1, 0, 2), "sr": rows["sr"]}
    expected = (rows["x"].mean(axis=1) + rows["state"].sum(axis=(1, 2))) / 2
    np.testing.assert_allclose(
        session.run(feed, ["score"])["score"][:, 0], expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.usefixtures("unmeasured")
def test_a_batch_that_is_not_clear_is_asked_for_and_then_taken(configure: Configure) -> None:
    rows = {"x": numbers((COUNT, 3))}

    with raises(ConfigInvalid, "models.m", "batch_axis", 'batch = "none"'):
        compress(configure(signatures.mixing(), rows), "m", silent)

    named = compress(configure(signatures.mixing(), rows, batch_axis={"x": 0}), "m", silent)
    assert named.manifest.batch_axes == {"x": 0, "y": 0}
    none = compress(configure(signatures.mixing(), {"x": numbers((COUNT, 7, 3))}, batch="none"),
                    "m", silent)  # fmt: skip
    assert none.manifest.batch_axes == {}


@pytest.mark.usefixtures("unmeasured")
def test_rows_of_a_model_without_a_batch_say_what_to_write(configure: Configure) -> None:
    with raises(SamplesInvalid, "'image'", "image.0"):
        compress(configure(signatures.picture(), {"image": numbers((3, 4, 5))}), "m", silent)
