"""What an object's name says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.errors import MalformedRequest, PayloadTooLarge
from onnxlift_runtime.jobs.objects import (
    FORMATS,
    MAX_LINES_BYTES,
    MAX_OBJECT_BYTES,
    PART_BYTES,
    Dropped,
    is_split,
)
from tests.support.errors import raises


@given(
    st.text(min_size=1).filter(lambda text: "/" not in text),
    st.text(),
    st.sampled_from(sorted(FORMATS)),
)
def test_a_key_names_its_model_its_format_and_its_answer(
    model: str, path: str, extension: str
) -> None:
    dropped = Dropped("data", f"in/{model}/{path}.{extension.upper()}", 1)

    assert (dropped.model, dropped.format) == (model, FORMATS[extension])
    assert dropped.output_key == f"out/{model}/{path}.{extension.upper()}"
    dropped.check()


@pytest.mark.parametrize(
    "key", ["in/m/a", "in/m/a.exe", "in/m.npy/a", "in/a.npy", "in/m/.", "in//a.npy"]
)
def test_a_key_that_says_too_little_is_refused(key: str) -> None:
    with pytest.raises(MalformedRequest):
        Dropped("data", key, 1).check()


@pytest.mark.parametrize(
    ("extension", "limit"), [("npy", MAX_OBJECT_BYTES), ("jsonl", MAX_LINES_BYTES)]
)
def test_sizes_are_held_to_the_limit_of_the_format(extension: str, limit: int) -> None:
    Dropped("data", f"in/m/a.{extension}", limit).check()

    with raises(PayloadTooLarge, limit):
        Dropped("data", f"in/m/a.{extension}", limit + 1).check()
    with raises(MalformedRequest, "empty"):
        Dropped("data", f"in/m/a.{extension}", 0).check()


def test_versions_of_one_object_have_names_of_their_own() -> None:
    one, other = (
        Dropped("data", "in/m/a.npy", 1, version, "order", "mark").identity
        for version in ("1", "2")
    )

    assert one != other
    assert Dropped("data", "in/m/a.npy", 1, "1", "order", "mark").identity == one
    assert (
        Dropped("data", "in/m/a.npy", 1, "", "o", "m").identity
        != Dropped("data", "in/m/a.npy", 1, "", "p").identity
    )


def test_only_large_files_of_lines_are_split() -> None:
    assert [is_split(word, PART_BYTES + 1) for word in ("jsonl", "npy")] == [True, False]
    assert not is_split("jsonl", PART_BYTES)
