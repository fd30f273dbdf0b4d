"""Padding is taken into a manifest where it fits the model and was seen to change nothing, and
nowhere else.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from onnxlift.compress.model.batch import EVERYWHERE, Batch
from onnxlift.compress.model.padding import depends_on_neighbours, padding_of, require_harmless
from onnxlift.compress.model.samples import Samples
from onnxlift.compress.model.signature import Signature, read_signature
from onnxlift.compress.pipeline import compress
from onnxlift.config import Config
from onnxlift.config import Padding as Asked
from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.manifest import Padding, read_manifest
from tests.support import builders
from tests.support.compress.bench import silent
from tests.support.errors import raises
from tests.support.runtime import lengths

WHERE = "models.m.padding"
ASKED = Asked(inputs={"ids": 0, "mask": 0}, outputs=("tokens",))


@pytest.fixture
def signature(tmp_path: Path) -> Signature:
    path = tmp_path / "attention.onnx"
    path.write_bytes(lengths.attention().SerializeToString())
    return read_signature(path)


def texts(count: int = 12, length: int = 6) -> dict[str, Any]:
    """Texts that end with two words to be left out."""
    found = lengths.text(count, length)
    found["mask"][:, -2:] = 0
    return found


def require(model: Any, tmp_path: Path, padding: Padding = lengths.PADDING) -> None:
    manifest = builders.write_artifact(tmp_path / "artifacts", model, padding=padding)
    require_harmless(
        tmp_path / "artifacts" / "tiny" / "1" / "model.onnx", manifest, Samples(texts()), WHERE
    )


def configure(root: Path, model: Any, padding: dict[str, Any], **quality: Any) -> Config:
    (root / "m.onnx").write_bytes(model.SerializeToString())
    found = texts(40)
    np.savez(root / "heldout.npz", **found)
    quality = {"samples": root / "heldout.npz", "metric": "cosine", "max_drop": 0.05, **quality}
    table = {"source": root / "m.onnx", "padding": padding, "quality": quality}
    return Config.model_validate(
        {
            "service": "s",
            "artifacts": root / "artifacts",
            "cache": root / "cache",
            "models": {"m": table},
        }
    )


def test_what_is_asked_for_becomes_the_manifests(signature: Signature) -> None:
    assert padding_of(ASKED, signature, EVERYWHERE, WHERE) == lengths.PADDING
    assert padding_of(None, signature, EVERYWHERE, WHERE) is None


@pytest.mark.parametrize(
    ("asked", "data"),
    [
        ({"inputs": {"words": 0}}, ("padding.inputs", "'words'", "ids, mask")),
        (
            {"inputs": {"ids": 0}, "outputs": ["logits"]},
            ("padding.outputs", "'logits'"),
        ),
        (
            {"inputs": {"ids": 0}, "axis": 2},
            ("'ids'", "[-1, -1]", "dimension 2"),
        ),
        (
            {"inputs": {"ids": 0}, "outputs": ["pooled"]},
            ("'pooled'", "[-1, 8]", "dimension 1"),
        ),
        (
            {"inputs": {"ids": 0}},
            ("'tokens'", "dimension 1"),
        ),
        (
            {"inputs": {"ids": 0.5}, "outputs": ["tokens"]},
            ("'ids'", "INT64", "0.5"),
        ),
        (
            {"inputs": {"ids": 1e30}, "outputs": ["tokens"]},
            ("'ids'", "INT64", "1e+30"),
        ),
    ],
)
def test_what_does_not_fit_the_signature_is_refused(
    asked: dict[str, Any], data: tuple[object, ...], signature: Signature
) -> None:
    with raises(ConfigInvalid, *data):
        padding_of(Asked.model_validate(asked), signature, EVERYWHERE, WHERE)


@pytest.mark.parametrize(
    ("datatype", "value", "fits"),
    [
        ("FP32", -1e9, True),
        ("FP16", 1e9, False),
        ("BF16", 0, False),
        ("BYTES", 0, False),
        ("BOOL", 1, True),
        ("BOOL", 2, False),
        ("UINT8", -1, False),
        ("INT8", -128, True),
    ],
)
def test_the_filling_must_be_a_value_of_the_datatype(
    datatype: str, value: float, fits: bool
) -> None:
    inputs = (builders.spec("x", datatype, (-1, -1)),)
    asked = Asked(inputs={"x": value})

    if fits:
        assert padding_of(asked, Signature(inputs, ()), EVERYWHERE, WHERE) is not None
    else:
        with raises(ConfigInvalid, "'x'", datatype, "filled"):
            padding_of(asked, Signature(inputs, ()), EVERYWHERE, WHERE)


@pytest.mark.parametrize("batch", [Batch({"ids": 0}, 4), Batch()])
def test_a_model_without_a_free_batch_has_nothing_to_pad(batch: Batch) -> None:
    inputs = (builders.spec("ids", "INT64", (4, -1)),)

    with raises(ConfigInvalid, "batch"):
        padding_of(Asked(inputs={"ids": 0}), Signature(inputs, ()), batch, WHERE)


@pytest.mark.parametrize("batch", [Batch({"mask": 0}), Batch({"ids": 1, "mask": 0})])
def test_an_input_is_filled_up_beside_its_batch(batch: Batch) -> None:
    inputs = tuple(builders.spec(name, "INT64", (-1, -1)) for name in ("ids", "mask"))

    with raises(ConfigInvalid, "'ids'", "batch"):
        padding_of(Asked(inputs={"ids": 0}), Signature(inputs, ()), batch, WHERE)


@pytest.mark.parametrize(
    "model", [lengths.attention(), lengths.masked_integers()], ids=["attention", "integers"]
)
def test_a_model_that_does_not_look_at_the_filling_passes(model: Any, tmp_path: Path) -> None:
    seen = Padding(
        1, {"ids": 1, "mask": 1}, ("tokens",)
    )  # what a model that is not told to look away does see

    require(model, tmp_path)
    with raises(ConfigInvalid, "same"):
        require(model, tmp_path / "seen", seen)


def test_a_model_that_looks_at_the_filling_is_refused(tmp_path: Path) -> None:
    with raises(ConfigInvalid, "'tokens'", "off"):
        require(lengths.attention(masked=False), tmp_path)


def test_an_input_that_was_forgotten_is_refused(tmp_path: Path) -> None:
    with raises(ConfigInvalid, 1, "longer"):
        require(lengths.attention(), tmp_path, Padding(1, {"ids": 0}, ("tokens",)))


def test_another_filling_than_the_models_is_refused(tmp_path: Path) -> None:
    with raises(ConfigInvalid, "'total'", "other values"):
        require(lengths.masked_integers(), tmp_path, Padding(1, {"ids": 3, "mask": 1}, ("tokens",)))


def test_only_a_scale_of_the_whole_batch_makes_rows_depend_on_each_other() -> None:
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])
    values = [builders.value("x", "FP32", (-1, 4))], [builders.value("y", "UINT8", (-1, 4))]
    branch = helper.make_graph([node], "branch", [], [])
    inside = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)

    assert depends_on_neighbours(builders.build([node], *values))
    assert depends_on_neighbours(builders.build([inside], *values))
    assert not depends_on_neighbours(builders.mlp())


@pytest.mark.usefixtures("unmeasured")
def test_compress_writes_the_padding_of_a_model_that_allows_it(tmp_path: Path) -> None:
    config = configure(tmp_path, lengths.attention(), ASKED.model_dump())

    compress(config, "m", silent, "fp32")

    written = read_manifest(tmp_path / "artifacts" / "m" / "1")
    assert written.padding == lengths.PADDING
    assert written.rows_together == written.max_batch_size > 1


@pytest.mark.usefixtures("unmeasured")
def test_a_model_with_dynamic_int8_is_not_padded_and_joined_up_to_what_was_judged(
    tmp_path: Path,
) -> None:
    model = lengths.attention(width=64)
    config = configure(tmp_path, model, ASKED.model_dump(), batch_size=4, max_drop=1)

    compress(config, "m", silent, "int8-dynamic")

    written = read_manifest(tmp_path / "artifacts" / "m" / "1")
    assert (written.padding, written.max_joined_rows, written.rows_together) == (None, 4, 4)
    assert written.max_batch_size > 4


def test_compress_refuses_padding_that_changes_answers_and_writes_nothing(tmp_path: Path) -> None:
    config = configure(tmp_path, lengths.attention(masked=False), ASKED.model_dump())

    with raises(ConfigInvalid, "models.m.padding", "'tokens'"):
        compress(config, "m", silent, "fp32")

    assert not (tmp_path / "artifacts").exists()
