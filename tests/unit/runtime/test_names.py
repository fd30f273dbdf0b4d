"""Names that AWS takes, made of names that Triton's and TensorFlow Serving's users have."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxlift_runtime.names import GPU, gpu_service_name, queue_name, resource_name

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@pytest.mark.parametrize("name", ["half_plus_two", "densenet_onnx", "Model.v1", "7b", "a" * 64])
def test_usual_names_become_resource_names(name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,39}", resource_name(name))
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", queue_name("s" * 15, name, GPU) + "-dead")
    assert resource_name(name) in gpu_service_name("s", name)


@given(names)
def test_a_resource_name_stays_one(name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,39}", resource_name(name))
    assert resource_name(resource_name(name)) == resource_name(name)


@given(names, names)
def test_two_models_have_two_resource_names(first: str, second: str) -> None:
    assert first == second or resource_name(first) != resource_name(second)


@pytest.mark.parametrize("pair", [("a_b", "a.b"), ("Model", "model"), ("a-b", "a_b")])
def test_names_that_look_alike_are_kept_apart(pair: tuple[str, str]) -> None:
    assert resource_name(pair[0]) != resource_name(pair[1])
