"""What one `cdk deploy --all` does to a service that is there: data stays, and what did not change
is left alone.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.infra.assembly import Assembly, flat, synthesise_all
from tests.infra.conftest import write_lab
from tests.support import builders

STATEFUL = (
    "AWS::DynamoDB::Table",
    "AWS::S3::Bucket",
    "AWS::SecretsManager::Secret",
    "AWS::SQS::Queue",
)
NAMED = {
    "AWS::ApiGateway::RestApi": "Name",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Events::EventBus": "Name",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SecretsManager::Secret": "Name",
}
LATER = '\n[models.later]\nsource = "later.onnx"\n[models.later.quality]\nsamples = "heldout.npz"\n'


def changed(shop: Assembly, folder: Path, change: Callable[[str], str]) -> Path:
    """The service after a change of its configuration; its artifacts have one model more, and files
    of no interest.
    """
    shutil.copytree(shop.folder.parent / "artifacts", folder / "artifacts")
    builders.write_artifact(folder / "artifacts", builders.linear(), name="later")
    for name in ("digits/notes.txt", "digits/2/report.json", "pair/1/.cache"):
        (folder / "artifacts" / name).write_text("of no interest")
    config = folder / "onnxlift.toml"
    config.write_text(change((shop.folder.parent / "onnxlift.toml").read_text()))
    return config


def moved_config(folder: Path) -> Path:
    """``lab`` with the model that was on both tiers on a GPU alone."""
    config = write_lab(folder)
    config.write_text(
        config.read_text().replace("placement.fallback = true", 'placement.tier = "gpu"')
    )
    return config


@pytest.fixture(scope="module")
def variants(shop: Assembly, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Assembly]:
    """The services after each change, made in one process."""
    changes: dict[str, Callable[[str], str]] = {
        "grown": lambda text: text.replace("memory_mb = 3008", "memory_mb = 4096") + LATER,
        "shrunk": lambda text: re.sub(r"\[models\.pair\].*?(?=\[api\])", "", text, flags=re.DOTALL),
        "renamed": lambda text: text.replace('service = "shop"', 'service = "mall"'),
    }
    configs = {
        name: changed(shop, tmp_path_factory.mktemp(name), change)
        for name, change in changes.items()
    }
    configs["moved"] = moved_config(tmp_path_factory.mktemp("moved"))
    return dict(zip(configs, synthesise_all(*configs.values()), strict=True))


@pytest.fixture
def grown(variants: dict[str, Assembly]) -> Assembly:
    """With a model more, and another memory for ``pair``."""
    return variants["grown"]


@pytest.fixture
def shrunk(variants: dict[str, Assembly]) -> Assembly:
    """Without ``pair``."""
    return variants["shrunk"]


@pytest.fixture
def renamed(variants: dict[str, Assembly]) -> Assembly:
    """Under another name, as another environment has it."""
    return variants["renamed"]


@pytest.fixture
def moved(variants: dict[str, Assembly]) -> Assembly:
    """``lab`` with the model that was on both tiers on a GPU alone."""
    return variants["moved"]


def stateful(assembly: Assembly, stack: str) -> dict[str, dict[str, object]]:
    """What holds data in a stack: replaced where its logical id changes, or one of its
    properties.
    """
    return {
        name: found for kind in STATEFUL for name, found in assembly.resources(stack, kind).items()
    }


def images(assembly: Assembly, stack: str) -> set[str]:
    """The digests of what the images of a stack are built from, which name them: one that is there
    is not built.
    """
    found = set(
        re.findall(r'container-assets-[^"]*:([0-9a-f]{64})', json.dumps(assembly.template(stack)))
    )
    assert found
    return found


def physical_names(assembly: Assembly) -> set[str]:
    """What resources are called beyond their stacks: two of a name cannot be in one account and
    region.
    """
    return {
        flat(found["Properties"][key])
        for kind, key in NAMED.items()
        for stack in assembly.stacks
        for found in assembly.resources(stack, kind).values()
        if key in found["Properties"]
    }


def test_a_model_more_leaves_the_data_and_the_other_models_alone(
    shop: Assembly, grown: Assembly
) -> None:
    assert set(grown.stacks) - set(shop.stacks) == {"shop-model-later"}
    assert grown.template("shop-data") == shop.template("shop-data")
    assert grown.template("shop-model-digits") == shop.template("shop-model-digits")


def test_another_memory_builds_no_image_and_keeps_the_queues(
    shop: Assembly, grown: Assembly
) -> None:
    stack = "shop-model-pair"

    assert grown.template(stack) != shop.template(stack)
    assert images(grown, stack) == images(shop, stack)
    assert stateful(grown, stack) == stateful(shop, stack)


def test_a_model_less_leaves_the_data_and_the_other_models_alone(
    shop: Assembly, shrunk: Assembly
) -> None:
    assert set(shop.stacks) - set(shrunk.stacks) == {"shop-model-pair"}
    assert shrunk.template("shop-data") == shop.template("shop-data")
    assert shrunk.template("shop-model-digits") == shop.template("shop-model-digits")
    assert stateful(shrunk, "shop-jobs") == stateful(shop, "shop-jobs")


def test_files_that_are_not_shipped_build_no_image(shop: Assembly, shrunk: Assembly) -> None:
    assert (shrunk.folder.parent / "artifacts" / "digits" / "notes.txt").exists()
    assert images(shrunk, "shop-model-digits") == images(shop, "shop-model-digits")


def test_a_model_that_moves_to_the_gpu_changes_neither_data_nor_its_jobs_there(
    lab: Assembly, moved: Assembly
) -> None:
    both, big = "lab-gpu-both", "lab-gpu-big"

    assert set(lab.stacks) - set(moved.stacks) == {"lab-model-both"}
    assert moved.template("lab-data") == lab.template("lab-data")
    assert stateful(moved, both) == stateful(lab, both)
    assert stateful(moved, "lab-jobs") == stateful(lab, "lab-jobs")
    assert moved.template(big) == lab.template(big)
    assert images(moved, both) == images(lab, both)


def test_another_name_is_another_service_with_the_same_images(
    shop: Assembly, renamed: Assembly
) -> None:
    ours, theirs = physical_names(shop), physical_names(renamed)

    assert renamed.stacks == [stack.replace("shop", "mall", 1) for stack in shop.stacks]
    assert {
        "shop-jobs",
        "shop-digits-predict",
        "shop-webhooks",
        "shop-<AWS::AccountId>-<AWS::Region>",
    } <= ours
    assert ours & theirs == set()
    assert {name.replace("shop", "mall") for name in ours} == theirs
    for model in ("digits", "pair"):
        assert images(renamed, f"mall-model-{model}") == images(shop, f"shop-model-{model}")


@pytest.mark.parametrize("change", ["grown", "shrunk", "moved", "renamed"])
def test_no_stack_waits_for_anothers_export(change: str, request: pytest.FixtureRequest) -> None:
    assembly: Assembly = request.getfixturevalue(change)

    templates = [assembly.template(stack) for stack in assembly.stacks]

    assert not any("Fn::ImportValue" in str(template) for template in templates)
    assert not any(
        "Export" in output
        for template in templates
        for output in template.get("Outputs", {}).values()
    )
