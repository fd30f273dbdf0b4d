"""Deployments with a mistake stop before anything is created, with a line that says what to do."""

from collections.abc import Iterator

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import CONFIG
from tests.e2e.emulator import ACCOUNT, REGION

# Another service, so that it would be seen if anything of it were created.
SERVICE = CONFIG.replace('service = "e2e"', 'service = "wrong"')
ABSENT = (
    '\n[models.absent]\nsource = "absent.onnx"\n[models.absent.quality]\nsamples = "heldout.npz"\n'
)
STRANGER = "210987654321"


@pytest.fixture
def mistaken(cloud: Cloud) -> Iterator[Cloud]:
    """The account, with the configuration of a service that is not there; nothing of it may be
    there afterwards.
    """
    before = cloud.stacks()
    cloud.config.write_text(SERVICE)
    yield cloud
    cloud.config.write_text(CONFIG)
    assert cloud.stacks() == before


def test_a_model_without_an_artifact_is_to_be_compressed(mistaken: Cloud) -> None:
    mistaken.config.write_text(SERVICE + ABSENT)

    told = mistaken.refused()

    assert "failed: model 'absent' is not compressed yet; run `onnxlift compress absent`" in told


def test_memory_that_no_function_has_is_told_with_the_limit(mistaken: Cloud) -> None:
    mistaken.config.write_text(
        SERVICE.replace("version = 2\n", "version = 2\nplacement.memory_mb = 20000\n")
    )

    told = mistaken.refused()

    assert "models.linear.placement.memory_mb: 20000 is not allowed" in told
    assert "less than or equal to 10240" in told


def test_a_machine_without_a_container_engine_is_told_what_could_not_be_started(
    mistaken: Cloud,
) -> None:
    told = mistaken.refused(CDK_DOCKER="no-such-engine")

    assert "no-such-engine" in told
    assert "podman" in told


def test_credentials_of_another_account_are_told_both_accounts(mistaken: Cloud) -> None:
    mistaken.config.write_text(f'{SERVICE}\n[deployment]\naccount = "{STRANGER}"\n')

    told = mistaken.refused()

    assert STRANGER in told
    assert ACCOUNT in told


def test_an_account_that_was_never_prepared_is_told_to_be_bootstrapped(mistaken: Cloud) -> None:
    told = mistaken.refused(AWS_ACCESS_KEY_ID=STRANGER)

    assert f"aws://{STRANGER}/{REGION}. Has the environment been bootstrapped?" in told


def test_nobody_deploys_without_credentials(mistaken: Cloud) -> None:
    told = mistaken.refused(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")

    assert "Unable to resolve AWS account to use" in told
