"""What is deployed: the stack that keeps its data, and one of everything else, in the order that
the parts need.
"""

import json

import pytest

from tests.infra.assembly import Assembly, flat

KIND = "AWS::CloudFormation::Stack"


def needs(assembly: Assembly, service: str) -> dict[str, set[str]]:
    """What each part waits for, by the parts' names without their punctuation."""

    def part(name: str) -> str:
        return name.partition("NestedStack")[0]

    found = assembly.resources(service, KIND).items()
    return {
        part(name): {part(needed) for needed in resource.get("DependsOn", ())}
        for name, resource in found
    }


def test_a_service_is_its_data_and_one_stack_of_everything_else(shop: Assembly) -> None:
    assert shop.deployed == ["shop", "shop-data"]
    assert set(shop.stacks) - set(shop.deployed) == {
        "shop-api",
        "shop-jobs",
        "shop-model-digits",
        "shop-model-pair",
    }
    assert {resource["Type"] for resource in shop.template("shop")["Resources"].values()} == {KIND}


def test_what_uses_a_model_is_deployed_after_it_and_changed_before_it_goes(
    shop: Assembly, lab: Assembly
) -> None:
    assert needs(shop, "shop") == {
        "modeldigits": set(),
        "modelpair": set(),
        "jobs": {"modeldigits", "modelpair"},
        "api": {"jobs"},
    }
    models = {"modelsmall", "modelboth", "gpu", "gpubig", "gpuboth"}
    assert needs(lab, "lab") == {
        "modelsmall": set(),
        "modelboth": set(),
        "gpu": set(),
        "gpubig": {"gpu"},
        "gpuboth": {"gpu"},
        "jobs": models,
        "api": {"jobs"},
    }


def test_the_data_is_there_before_what_works_on_it(shop: Assembly) -> None:
    artifacts = json.loads((shop.folder / "manifest.json").read_text())["artifacts"]

    assert "shop-data" in artifacts["shop"]["dependencies"]
    assert "shop" not in artifacts["shop-data"]["dependencies"]


@pytest.mark.parametrize(
    ("service", "told"),
    [
        ("shop", {"Url", "KeyId", "JobsQueue", "DataBucket"}),
        ("bare", {"Url", "JobsQueue", "DataBucket"}),
        ("lab", {"Url", "JobsQueue", "DataBucket", "DomainTarget", "DomainZone"}),
    ],
)
def test_a_deployment_tells_what_callers_need(
    service: str, told: set[str], request: pytest.FixtureRequest
) -> None:
    assembly: Assembly = request.getfixturevalue(service)

    outputs = assembly.template(service)["Outputs"]

    assert set(outputs) == told
    assert flat(outputs["Url"]["Value"]).startswith("https://<apiNestedStackapiNestedStackResource")


def test_no_stack_exports_or_imports_anything(shop: Assembly, lab: Assembly) -> None:
    templates = [assembly.template(stack) for assembly in (shop, lab) for stack in assembly.stacks]

    assert not any(
        "Export" in output
        for template in templates
        for output in template.get("Outputs", {}).values()
    )
    assert not any("Fn::ImportValue" in str(template) for template in templates)
