"""What the stack of one model makes."""

import re
from pathlib import PurePosixPath

import pytest

from onnxlift_runtime.settings import Settings
from tests.infra.assembly import ROOT, Assembly

DIGITS, PAIR = "shop-model-digits", "shop-model-pair"
RUNTIME = "layers/runtime/python/onnxlift_runtime"


def test_a_service_is_one_stack_per_model_and_one_api(shop: Assembly) -> None:
    assert shop.stacks == ["shop-api", DIGITS, PAIR]


def test_a_stack_holds_a_published_function_and_nothing_beside_it(shop: Assembly) -> None:
    kinds = sorted(resource["Type"] for resource in shop.template(DIGITS)["Resources"].values())

    assert kinds == [
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::Lambda::Alias",
        "AWS::Lambda::Function",
        "AWS::Lambda::Version",
        "AWS::Logs::LogGroup",
    ]


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
    function = shop.only(stack, "AWS::Lambda::Function")

    assert function["PackageType"] == "Image"
    assert function["FunctionName"] == name
    assert function["Architectures"] == [architecture]
    assert function["MemorySize"] == memory_mb
    assert function["Timeout"] == 29


def test_the_environment_is_what_settings_read_back(shop: Assembly) -> None:
    variables = shop.only(DIGITS, "AWS::Lambda::Function")["Environment"]["Variables"]

    assert variables == Settings(service="shop").to_env()
    assert Settings.from_env(variables) == Settings(service="shop")


def test_the_alias_live_points_at_a_published_version(shop: Assembly) -> None:
    (function,) = shop.resources(DIGITS, "AWS::Lambda::Function")
    (version,) = shop.resources(DIGITS, "AWS::Lambda::Version")

    alias = shop.only(DIGITS, "AWS::Lambda::Alias")

    assert alias["Name"] == "live"
    assert alias["FunctionName"] == {"Ref": function}
    assert alias["FunctionVersion"] == {"Fn::GetAtt": [version, "Version"]}


def test_the_role_may_write_to_its_own_log_group_and_nothing_else(shop: Assembly) -> None:
    (log_group,) = shop.resources(DIGITS, "AWS::Logs::LogGroup")

    role, policy = shop.only(DIGITS, "AWS::IAM::Role"), shop.only(DIGITS, "AWS::IAM::Policy")

    assert set(role) == {"AssumeRolePolicyDocument", "Tags"}
    assert role["AssumeRolePolicyDocument"]["Statement"] == [
        {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}}
    ]
    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Effect": "Allow",
            "Resource": {"Fn::GetAtt": [log_group, "Arn"]},
        }
    ]


def test_the_log_is_kept_as_long_as_configured_and_goes_with_the_stack(shop: Assembly) -> None:
    (log_group,) = shop.resources(DIGITS, "AWS::Logs::LogGroup").items()

    function = shop.only(DIGITS, "AWS::Lambda::Function")

    assert function["LoggingConfig"] == {"LogGroup": {"Ref": log_group[0]}}
    assert log_group[1]["Properties"]["RetentionInDays"] == 14
    assert log_group[1]["DeletionPolicy"] == "Delete"


def test_no_stack_exports_or_imports_anything(shop: Assembly) -> None:
    templates = [shop.template(stack) for stack in shop.stacks]

    assert not any("Export" in output for template in templates for output in template.get("Outputs", {}).values())
    assert not any("Fn::ImportValue" in str(template) for template in templates)


def test_the_image_is_built_from_exactly_what_it_needs(shop: Assembly) -> None:
    (function,) = shop.resources(DIGITS, "AWS::Lambda::Function").values()

    files = shop.asset_files(function)

    assert {name for name in files if not name.startswith(RUNTIME)} == {
        "handlers/Dockerfile",
        "handlers/__init__.py",
        "handlers/predict.py",
        "requirements/runtime.txt",
        "artifacts/digits/1/manifest.json",
        "artifacts/digits/1/model.onnx",
        "artifacts/digits/2/manifest.json",
        "artifacts/digits/2/model.onnx",
    }
    assert all(name.endswith(".py") for name in files if name.startswith(RUNTIME))
    assert f"{RUNTIME}/engine.py" in files


def test_the_context_holds_everything_that_the_dockerfile_copies(shop: Assembly) -> None:
    (function,) = shop.resources(DIGITS, "AWS::Lambda::Function").values()
    files = {PurePosixPath(name) for name in shop.asset_files(function)}

    copied = re.findall(r"^COPY (?!--from)(\S+) ", (ROOT / "handlers" / "Dockerfile").read_text(), re.MULTILINE)

    assert len(copied) == 4
    assert all(any(name.match(source) or name.is_relative_to(source) for name in files) for source in copied)
