"""What the stack of the API makes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.assets import library_files
from onnxlift.topology import SWEEP_EVERY_S
from onnxlift_runtime.names import SWEEP_EVENT
from onnxlift_runtime.settings import Limits
from tests.infra.assembly import Assembly, Resource, flat
from tests.infra.conftest import SHOP_SETTINGS

API = "shop-api"
INTEGRATION = "x-amazon-apigateway-integration"


def body(assembly: Assembly, stack: str = API) -> dict[str, Any]:
    document: dict[str, Any] = assembly.only(stack, "AWS::ApiGateway::RestApi")["Body"]
    return document


def methods(assembly: Assembly) -> Iterator[tuple[str, str, Resource]]:
    for path, operations in body(assembly)["paths"].items():
        for name, operation in operations.items():
            yield path, name, operation


def test_the_api_is_regional_and_takes_every_body_as_bytes(shop: Assembly) -> None:
    api = shop.only(API, "AWS::ApiGateway::RestApi")

    assert api["EndpointConfiguration"] == {"Types": ["REGIONAL"]}
    assert api["Body"]["openapi"] == "3.0.1"
    assert api["Body"]["x-amazon-apigateway-binary-media-types"] == ["*/*"]


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/v2", "<ControlLive7F9FACD8>"),
        ("/", "<ControlLive7F9FACD8>"),
        ("/{proxy+}", "<ControlLive7F9FACD8>"),
        ("/v2/models", "<ControlLive7F9FACD8>"),
        ("/v2/models/digits", ":function:shop-digits-predict:live"),
        ("/v2/models/digits/infer", ":function:shop-digits-predict:live"),
        ("/v1/models/digits:predict", ":function:shop-digits-predict:live"),
        ("/v1/models/pair/{proxy+}", ":function:shop-pair-predict:live"),
        ("/v2/models/pair/{proxy+}", ":function:shop-pair-predict:live"),
    ],
)
def test_a_path_goes_to_the_alias_of_its_function(shop: Assembly, path: str, function: str) -> None:
    operations = body(shop)["paths"][path].values()

    uris = {flat(operation[INTEGRATION]["uri"]) for operation in operations}

    assert len(uris) == 1
    assert uris.pop().endswith(f"{function}/invocations")


def test_every_method_hands_the_whole_event_over_and_waits_29_seconds(shop: Assembly) -> None:
    integrations = [operation[INTEGRATION] for _, _, operation in methods(shop)]

    assert {
        (found["type"], found["httpMethod"], found["timeoutInMillis"]) for found in integrations
    } == {("aws_proxy", "POST", 29_000)}


def test_every_path_takes_any_method_so_that_our_405_is_told(shop: Assembly) -> None:
    paths = body(shop)["paths"]

    assert all("x-amazon-apigateway-any-method" in operations for operations in paths.values())


def test_every_method_asks_for_the_key_when_the_service_does(
    shop: Assembly, bare: Assembly
) -> None:
    assert all(operation["security"] == [{"api_key": []}] for _, _, operation in methods(shop))
    assert body(shop)["components"] == {
        "securitySchemes": {"api_key": {"type": "apiKey", "name": "x-api-key", "in": "header"}}
    }
    assert "security" not in json.dumps(body(bare, "bare-api"))


def test_a_key_and_its_plan_exist_only_when_the_service_asks_for_one(
    shop: Assembly, bare: Assembly
) -> None:
    plan = shop.only(API, "AWS::ApiGateway::UsagePlan")

    assert plan["Throttle"] == {"RateLimit": 7, "BurstLimit": 9}
    assert [flat(stage["Stage"]) for stage in plan["ApiStages"]] == [
        f"<{shop.name(API, 'AWS::ApiGateway::Stage')}>"
    ]
    assert len(shop.resources(API, "AWS::ApiGateway::UsagePlanKey")) == 1
    assert not bare.resources("bare-api", "AWS::ApiGateway::ApiKey")
    assert not bare.resources("bare-api", "AWS::ApiGateway::UsagePlan")


def test_the_stage_throttles_all_callers_together(shop: Assembly) -> None:
    stage = shop.only(API, "AWS::ApiGateway::Stage")

    (settings,) = stage["MethodSettings"]
    assert stage["StageName"] == "v9"
    assert (settings["ResourcePath"], settings["HttpMethod"]) == ("/*", "*")
    assert (settings["ThrottlingRateLimit"], settings["ThrottlingBurstLimit"]) == (7, 9)
    assert settings["DataTraceEnabled"] is False


def test_the_access_log_is_json_and_kept_as_long_as_configured(shop: Assembly) -> None:
    stage = shop.only(API, "AWS::ApiGateway::Stage")
    groups = shop.resources(API, "AWS::Logs::LogGroup")

    line = json.loads(stage["AccessLogSetting"]["Format"])

    assert {"request_id", "status", "path", "error", "latency_ms"} <= set(line)
    assert flat(stage["AccessLogSetting"]["DestinationArn"]).endswith(
        ":log-group:<GatewayAccessLogAEFA1E8A>"
    )
    assert {group["Properties"]["RetentionInDays"] for group in groups.values()} == {14}


@pytest.mark.parametrize(
    ("kind", "status", "retry_after", "words"),
    [
        ("THROTTLED", "429", "'1'", "7 in a second"),
        ("QUOTA_EXCEEDED", "429", "'3600'", "quota"),
        ("INTEGRATION_FAILURE", "503", "'2'", "try again"),
        ("REQUEST_TOO_LARGE", "413", None, f"at most {Limits().max_body_bytes} bytes"),
        ("INVALID_API_KEY", "403", None, "x-api-key"),
        ("INTEGRATION_TIMEOUT", "504", None, "29 s"),
    ],
)
def test_the_gateways_own_errors_have_our_form(
    shop: Assembly, kind: str, status: str, retry_after: str | None, words: str
) -> None:
    response = body(shop)["x-amazon-apigateway-gateway-responses"][kind]

    told = json.loads(response["responseTemplates"]["application/json"])
    assert response["statusCode"] == status
    assert list(told) == ["error"]
    assert words in told["error"]
    headers = response.get("responseParameters", {})
    assert headers.get("gatewayresponse.header.Retry-After") == retry_after


@pytest.mark.parametrize("kind", ["DEFAULT_4XX", "DEFAULT_5XX"])
def test_any_other_error_of_the_gateway_keeps_its_status_and_takes_our_form(
    shop: Assembly, kind: str
) -> None:
    response = body(shop)["x-amazon-apigateway-gateway-responses"][kind]

    assert response == {
        "responseTemplates": {"application/json": '{"error": $context.error.messageString}'}
    }


def test_only_this_stage_may_call_the_functions_and_only_behind_their_alias(shop: Assembly) -> None:
    found = [
        permission["Properties"]
        for permission in shop.resources(API, "AWS::Lambda::Permission").values()
    ]
    permissions = [
        permission for permission in found if permission["Principal"] != "events.amazonaws.com"
    ]

    assert {flat(found["FunctionName"]).rpartition(":function:")[2] for found in permissions} == {
        "<ControlLive7F9FACD8>",
        "shop-digits-predict:live",
        "shop-pair-predict:live",
    }
    assert {(found["Action"], found["Principal"]) for found in permissions} == {
        ("lambda:InvokeFunction", "apigateway.amazonaws.com")
    }
    api, stage = (
        shop.name(API, "AWS::ApiGateway::RestApi"),
        shop.name(API, "AWS::ApiGateway::Stage"),
    )
    sources = {flat(found["SourceArn"]).rpartition("<AWS::AccountId>:")[2] for found in permissions}
    assert sources == {f"<{api}>/<{stage}>/*/*"}


def test_control_is_a_zip_on_the_runtime_layer_behind_its_alias(shop: Assembly) -> None:
    function = shop.only(API, "AWS::Lambda::Function")

    assert (function["Runtime"], function["Handler"]) == ("python3.13", "handlers.control.handler")
    assert function["Layers"] == [{"Ref": shop.name(API, "AWS::Lambda::LayerVersion")}]
    assert shop.only(API, "AWS::Lambda::Alias")["Name"] == "live"


def test_control_is_told_where_its_manifests_are_and_whether_there_are_keys(shop: Assembly) -> None:
    variables = shop.only(API, "AWS::Lambda::Function")["Environment"]["Variables"]

    expected = replace(SHOP_SETTINGS, models_dir=Path("/var/task/models"))
    assert {name: flat(value) for name, value in variables.items()} == expected.to_env()


def test_control_is_shipped_with_the_manifests_and_without_the_models(shop: Assembly) -> None:
    (function,) = shop.resources(API, "AWS::Lambda::Function").values()

    assert shop.asset_files(function) == {
        "handlers/__init__.py",
        "handlers/control.py",
        "models/digits/1/manifest.json",
        "models/digits/2/manifest.json",
        "models/pair/1/manifest.json",
    }


def test_the_layer_is_the_runtime_and_what_writes_metrics(shop: Assembly) -> None:
    (layer,) = shop.resources(API, "AWS::Lambda::LayerVersion").values()

    files = shop.asset_files(layer)

    assert {
        "python/onnxlift_runtime/http/message.py",
        "python/aws_lambda_powertools/metrics/__init__.py",
    } <= files
    own = {name for name in files if name.startswith("python/onnxlift_runtime/")}
    assert files - own == set(library_files())
    assert all(name.endswith((".py", "LICENSE")) for name in files)


def test_api_gateways_own_role_is_the_only_one_with_a_managed_policy(shop: Assembly) -> None:
    managed = {
        name: [flat(arn) for arn in role["Properties"].get("ManagedPolicyArns", [])]
        for name, role in shop.resources(API, "AWS::IAM::Role").items()
    }

    assert {name: arns for name, arns in managed.items() if arns} == {
        "GatewayApiCloudWatchRoleF53BFE7C": [
            "arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
        ]
    }


def test_control_looks_for_lost_jobs_every_minute(shop: Assembly) -> None:
    rule = shop.only(API, "AWS::Events::Rule")
    (target,) = rule["Targets"]

    assert rule["ScheduleExpression"] == "rate(1 minute)"
    assert flat(target["Arn"]) == "<ControlLive7F9FACD8>"
    assert json.loads(target["Input"]) == SWEEP_EVENT


def test_a_look_that_fails_or_comes_late_is_not_made_again(shop: Assembly) -> None:
    (target,) = shop.only(API, "AWS::Events::Rule")["Targets"]
    told = shop.only(API, "AWS::Lambda::EventInvokeConfig")

    once = {"MaximumEventAgeInSeconds": SWEEP_EVERY_S, "MaximumRetryAttempts": 0}
    assert target["RetryPolicy"] == once
    assert {name: told[name] for name in once} == once
    assert "ControlLive7F9FACD8" in json.dumps(told["Qualifier"])


def test_the_role_for_access_logs_outlives_the_service(shop: Assembly) -> None:
    (account,) = shop.resources(API, "AWS::ApiGateway::Account").values()
    role = shop.resources(API, "AWS::IAM::Role")["GatewayApiCloudWatchRoleF53BFE7C"]

    assert (account["DeletionPolicy"], role["DeletionPolicy"]) == ("Retain", "Retain")


def test_a_model_that_is_not_compressed_is_left_out_with_a_warning(bare: Assembly) -> None:
    metadata = json.loads((bare.folder / "manifest.json").read_text())["artifacts"]["bare"]
    notes = json.loads((bare.folder / metadata["additionalMetadataFile"]).read_text())

    warnings = [
        entry["data"]
        for entries in notes.values()
        for entry in entries
        if entry["type"] == "aws:cdk:warning"
    ]

    assert "bare-model-later" not in bare.stacks
    assert not any("later" in path for path in body(bare, "bare-api")["paths"])
    assert len(warnings) == 1
    assert "run `onnxlift compress later`" in warnings[0]


def test_cloudformation_refuses_to_deploy_without_that_model(
    shop: Assembly, bare: Assembly
) -> None:
    template = bare.template("bare-data")  # which is deployed before all others

    (assertion,) = template["Rules"]["EveryModelIsCompressed"]["Assertions"]

    assert assertion == {
        "Assert": {"Fn::Equals": [{"Ref": "NotCompressed"}, ""]},
        "AssertDescription": "model 'later' is not compressed yet; run `onnxlift compress later`",
    }
    assert template["Parameters"]["NotCompressed"] == {
        "Type": "String",
        "Default": "later",
        "AllowedValues": ["later"],
    }
    assert "EveryModelIsCompressed" not in shop.template("shop-data")["Rules"]
