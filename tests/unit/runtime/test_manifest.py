"""``manifest.json``: written and read back unchanged, checked key by key, files checked byte by
byte.
"""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.errors import ArtifactCorrupt, ArtifactMissing
from onnxlift_runtime.manifest import (
    FileEntry,
    Latency,
    Manifest,
    Measurements,
    Quality,
    Source,
    TensorSpec,
    read_manifest,
    read_manifests,
    verify_files,
)
from onnxlift_runtime.tensors.datatypes import DATATYPES
from tests.support import builders
from tests.support.errors import raises

words = st.text(max_size=20)
whole = st.integers(min_value=0, max_value=2**53)
number = st.floats(allow_nan=False, allow_infinity=False)
latencies = st.lists(st.builds(Latency, whole, number, number), max_size=3).map(tuple)
specs = st.builds(
    TensorSpec,
    words,
    st.sampled_from([datatype.name for datatype in DATATYPES]),
    st.lists(st.integers(-1, 2**31), max_size=5).map(tuple),
    st.lists(words, max_size=3).map(tuple),
)
manifests = st.builds(
    Manifest,
    name=words,
    version=words,
    opset=whole,
    recipe=words,
    architecture=words,
    inputs=st.lists(specs, max_size=3).map(tuple),
    outputs=st.lists(specs, max_size=3).map(tuple),
    files=st.lists(st.builds(FileEntry, words, words, whole), max_size=3).map(tuple),
    source=st.builds(Source, words, whole, latencies),
    quality=st.builds(Quality, words, number, number, number, whole),
    measurements=st.builds(Measurements, number, number, latencies, words, whole, words),
    max_batch_size=whole,
    model_file=words,
    optimize_at_load=st.booleans(),
    version_labels=st.lists(words, max_size=2).map(tuple),
    session_options=st.dictionaries(words, words, max_size=3),
    verified_on=st.dictionaries(words, number, max_size=3),
    batch_axes=st.none() | st.dictionaries(words, st.integers(0, 7), max_size=3),
)


def _text(**changes: Any) -> str:
    return json.dumps({**json.loads(builders.manifest().to_json()), **changes})


@given(manifests)
def test_any_manifest_survives_writing_and_reading(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(manifests)
def test_writing_twice_gives_the_same_text(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()).to_json() == manifest.to_json()


@given(
    st.recursive(
        st.none() | st.booleans() | number | words,
        lambda inner: st.lists(inner) | st.dictionaries(words, inner),
    )
)
def test_foreign_json_is_corrupt_and_nothing_worse(content: Any) -> None:
    with pytest.raises(ArtifactCorrupt):
        Manifest.from_json(json.dumps(content))


@given(st.binary(max_size=50))
def test_foreign_bytes_are_corrupt_and_nothing_worse(content: bytes) -> None:
    with pytest.raises(ArtifactCorrupt):
        Manifest.from_json(content)


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({"opset": "21"}, ("manifest.json: opset", "int", "str")),
        ({"opset": True}, ("manifest.json: opset", "int", "bool")),
        ({"colour": 1}, ("manifest.json", "'colour'")),
        ({"inputs": [{"name": "x", "datatype": "FP32"}]}, ("inputs[0]", "shape")),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": ["a"]}]},
            ("inputs[0]: shape[0]", "int"),
        ),
        ({"quality": []}, ("quality", "object", "list")),
        ({"verified_on": {"avx2": "yes"}}, ("verified_on.avx2", "float", "str")),
        ({"schema_version": 99}, ("schema_version", 99, 1)),
    ],
)
def test_a_wrong_key_is_named(changes: dict[str, Any], data: tuple[object, ...]) -> None:
    with raises(ArtifactCorrupt, *data):
        Manifest.from_json(_text(**changes))


@pytest.mark.parametrize("key", [item.name for item in fields(Manifest)][:11])
def test_a_missing_key_is_named(key: str) -> None:
    content = json.loads(_text())
    del content[key]

    with raises(ArtifactCorrupt, key):
        Manifest.from_json(json.dumps(content))


def test_whole_numbers_are_read_where_figures_are_expected() -> None:
    content = json.loads(_text())
    content["quality"]["max_drop"] = 0

    assert Manifest.from_json(json.dumps(content)).quality.max_drop == 0.0


def test_every_part_of_a_manifest_is_frozen() -> None:
    manifest = builders.manifest()

    for item in fields(manifest):
        value = getattr(manifest, item.name)
        if is_dataclass(value):
            with pytest.raises(AttributeError):
                setattr(value, fields(value)[0].name, None)


def test_size_counts_every_file() -> None:
    manifest = builders.manifest(files=(FileEntry("a", "", 3), FileEntry("b", "", 4)))

    assert manifest.size_bytes == 7


def test_manifests_are_listed_by_name_and_version_number(tmp_path: Path) -> None:
    for name, version in [("b", "10"), ("b", "9"), ("a", "1")]:
        builders.write_artifact(tmp_path, builders.identity(), name=name, version=version)

    found = [(manifest.name, manifest.version) for manifest in read_manifests(tmp_path)]

    assert found == [("a", "1"), ("b", "9"), ("b", "10")]


def test_a_missing_manifest_says_how_to_make_it(tmp_path: Path) -> None:
    with raises(ArtifactMissing, "onnxlift compress"):
        read_manifest(tmp_path)


def test_complete_files_are_accepted(tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path, builders.linear(), name="m")

    verify_files(tmp_path / "m" / "1", manifest)
    with pytest.raises(ArtifactMissing):
        verify_files(tmp_path, manifest)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path, builders.linear(), name="m")
    (tmp_path / "m" / "1" / "model.onnx").unlink()

    with raises(ArtifactMissing, "model.onnx"):
        verify_files(tmp_path / "m" / "1", manifest)


def test_one_flipped_bit_is_found(tmp_path: Path) -> None:
    manifest = builders.write_artifact(tmp_path, builders.linear(), name="m")
    path = tmp_path / "m" / "1" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    with raises(ArtifactCorrupt, "model.onnx"):
        verify_files(tmp_path / "m" / "1", manifest)


def test_a_folder_that_may_not_be_read_is_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: Path) -> None:  # by hand, because nothing is refused to root
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)

    with raises(ArtifactMissing, "Permission denied"):
        read_manifests(tmp_path)


def test_a_folder_that_is_not_there_has_no_manifests(tmp_path: Path) -> None:
    assert read_manifests(tmp_path / "nothing") == ()


def test_an_older_manifest_has_its_batch_in_dimension_0_of_everything() -> None:
    data = json.loads(builders.manifest(max_batch_size=8).to_json())
    del data["batch_axes"]

    old = Manifest.from_json(json.dumps(data))

    assert [old.batch_axis(name) for name in ("x", "y")] == [0, 0]


def test_a_batch_has_an_axis_in_each_tensor_or_none() -> None:
    stated = builders.manifest(max_batch_size=8, batch_axes={"x": 1})

    assert [stated.batch_axis(name) for name in ("x", "y")] == [1, None]


def test_a_model_that_takes_no_batches_has_no_axis() -> None:
    fixed = builders.manifest(max_batch_size=0, batch_axes={"x": 0, "y": 0})

    assert [fixed.batch_axis(name) for name in ("x", "y")] == [None, None]
