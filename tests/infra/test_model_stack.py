"""What the stack of one model makes."""

import json
import re
from collections import Counter
from pathlib import PurePosixPath

import pytest

from onnxlift_runtime.settings import Settings
from tests.infra.assembly import ROOT, Assembly, Resource, flat
from tests.infra.conftest import SHOP_SETTINGS

DIGITS, PAIR = "shop-model-digits", "shop-model-pair"
RUNTIME = "layers/runtime/python/onnxlift_runtime"


def functions(assembly: Assembly, stack: str) -> dict[str, Resource]:
    """The functions of a stack by the name of their handler."""
    found = assembly.resources(stack, "AWS::Lambda::Function").values()
    return {
        resource["Properties"]["ImageConfig"]["Command"][0].split(".")[1]: resource
        for resource in found
    }


def predict(assembly: Assembly, stack: str) -> Resource:
    properties: Resource = functions(assembly, stack)["predict"]["Properties"]
    return properties


def test_a_stack_holds_two_published_functions_and_the_queue_of_one(shop: Assembly) -> None:
    kinds = Counter(resource["Type"] for resource in shop.template(DIGITS)["Resources"].values())

    assert kinds == {
        "AWS::IAM::Policy": 2,
        "AWS::IAM::Role": 2,
        "AWS::Lambda::Alias": 2,
        "AWS::Lambda::EventSourceMapping": 1,
        "AWS::Lambda::Function": 2,
        "AWS::Lambda::Version": 2,
        "AWS::Logs::LogGroup": 2,
        "AWS::SQS::Queue": 2,
        "AWS::SQS::QueuePolicy": 2,
    }


@pytest.mark.parametrize(
    ("stack", "name", "architecture", "memory_mb"),
    [
        pytest.param(DIGITS, "shop-digits-predict", "x86_64", 1769, id="one-vcpu"),
        pytest.param(PAIR, "shop-pair-predict", "arm64", 3008, id="set-by-the-user"),
    ],
)
def test_the_function_has_what_placement_and_manifest_say(
    shop: Assembly, stack: str, name: str, architecture: str, memory_mb: int
) -> None:
    function = predict(shop, stack)

    assert function["PackageType"] == "Image"
    assert function["FunctionName"] == name
    assert function["Architectures"] == [architecture]
    assert function["MemorySize"] == memory_mb
    assert function["Timeout"] == 29


def test_both_functions_are_told_where_their_jobs_are(shop: Assembly) -> None:
    for function in functions(shop, DIGITS).values():
        variables = function["Properties"]["Environment"]["Variables"]
        told = {name: flat(value) for name, value in variables.items()}
        assert told == SHOP_SETTINGS.to_env()
        assert Settings.from_env(told) == SHOP_SETTINGS


def test_the_alias_live_points_at_a_published_version(shop: Assembly) -> None:
    versions = set(shop.resources(DIGITS, "AWS::Lambda::Version"))

    aliases = [
        found["Properties"] for found in shop.resources(DIGITS, "AWS::Lambda::Alias").values()
    ]

    assert [alias["Name"] for alias in aliases] == ["live", "live"]
    assert {alias["FunctionVersion"]["Fn::GetAtt"][0] for alias in aliases} == versions


def test_both_functions_run_one_image(shop: Assembly) -> None:
    images = {
        json.dumps(function["Properties"]["Code"]) for function in functions(shop, DIGITS).values()
    }

    assert len(images) == 1


def test_batch_may_run_as_long_as_configured_with_the_memory_of_predict(shop: Assembly) -> None:
    batch = functions(shop, DIGITS)["batch"]["Properties"]

    assert (batch["Timeout"], batch["MemorySize"]) == (120, 1769)


def test_the_logs_are_kept_as_long_as_configured_and_go_with_the_stack(shop: Assembly) -> None:
    groups = shop.resources(DIGITS, "AWS::Logs::LogGroup")

    used = {
        function["Properties"]["LoggingConfig"]["LogGroup"]["Ref"]
        for function in functions(shop, DIGITS).values()
    }

    assert used == set(groups)
    assert {
        (group["Properties"]["RetentionInDays"], group["DeletionPolicy"])
        for group in groups.values()
    } == {(14, "Delete")}


def test_the_image_is_built_from_exactly_what_it_needs(shop: Assembly) -> None:
    function = functions(shop, DIGITS)["predict"]

    files = shop.asset_files(function)

    assert {name for name in files if not name.startswith(RUNTIME)} == {
        "handlers/Dockerfile",
        "handlers/__init__.py",
        "handlers/batch.py",
        "handlers/predict.py",
        "infra/images/slim.py",
        "requirements/runtime.txt",
        "artifacts/digits/1/manifest.json",
        "artifacts/digits/1/model.onnx",
        "artifacts/digits/2/manifest.json",
        "artifacts/digits/2/model.onnx",
    }
    assert all(name.endswith(".py") for name in files if name.startswith(RUNTIME))
    assert f"{RUNTIME}/dataplane/engine.py" in files


def test_the_context_holds_everything_that_the_dockerfile_copies(shop: Assembly) -> None:
    function = functions(shop, DIGITS)["predict"]
    files = {PurePosixPath(name) for name in shop.asset_files(function)}

    copied = re.findall(
        r"^COPY (?!--from)(\S+) ", (ROOT / "handlers" / "Dockerfile").read_text(), re.MULTILINE
    )

    assert len(copied) == 4
    assert all(
        any(name.match(source) or name.is_relative_to(source) for name in files)
        for source in copied
    )
