"""Where a service is deployed to, and what stops it from going elsewhere."""

from pathlib import Path

import pytest

from infra.destination import find_destination
from onnxlift.config import Config, load_config
from onnxlift_runtime.errors import ConfigInvalid
from tests.infra.assembly import synthesise
from tests.infra.conftest import write_bare
from tests.support.errors import missing, raises

OURS, THEIRS = "111122223333", "444455556666"
CERTIFICATE = f"arn:aws:acm:us-east-1:{OURS}:certificate/1a2b"
DOMAIN = f'[api.domain]\nname = "api.example.com"\ncertificate_arn = "{CERTIFICATE}"\n'


def configured(folder: Path, text: str) -> Config:
    path = write_bare(folder)
    path.write_text(f"{path.read_text()}\n{text}")
    return load_config(path)


def found(account: str, region: str) -> dict[str, str]:
    """What the CDK's command line tells the app."""
    return {"CDK_DEFAULT_ACCOUNT": account, "CDK_DEFAULT_REGION": region}


@pytest.mark.parametrize(
    ("text", "environ", "account", "region"),
    [
        pytest.param("", {}, None, None, id="nothing-known"),
        pytest.param("", found(OURS, "eu-west-1"), OURS, "eu-west-1", id="credentials"),
        pytest.param(
            "", {"CDK_DEFAULT_REGION": "us-east-1"}, None, None, id="a-region-alone-is-a-guess"
        ),
        pytest.param(f'account = "{OURS}"', {}, OURS, None, id="account"),
        pytest.param(
            'region = "eu-west-1"', found(OURS, "us-east-1"), OURS, "eu-west-1", id="region-wins"
        ),
        pytest.param(
            f'account = "{OURS}"',
            found(OURS, "us-east-1"),
            OURS,
            "us-east-1",
            id="the-account-is-right",
        ),
    ],
)
def test_the_destination_is_the_configuration_s_else_that_of_the_credentials(
    tmp_path: Path, text: str, environ: dict[str, str], account: str | None, region: str | None
) -> None:
    destination = find_destination(configured(tmp_path, f"[deployment]\n{text}"), environ)

    assert (destination.account, destination.region) == (account, region)


def test_credentials_of_another_account_stop_the_app_with_one_line(tmp_path: Path) -> None:
    config = write_bare(tmp_path)
    config.write_text(f'{config.read_text()}\n[deployment]\naccount = "{OURS}"\n')

    done = synthesise(config, tmp_path / "out", **found(THEIRS, "us-east-1"))

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert missing(done.stderr, THEIRS, OURS, "deployment.account", "--profile") == []
    assert not list((tmp_path / "out").glob("*.template.json"))


def test_a_certificate_of_another_region_is_refused(tmp_path: Path) -> None:
    config = configured(tmp_path, DOMAIN)

    with raises(ConfigInvalid, "us-east-1", "eu-west-1"):
        find_destination(config, found(OURS, "eu-west-1"))


def test_a_certificate_of_the_same_region_is_taken(tmp_path: Path) -> None:
    destination = find_destination(configured(tmp_path, DOMAIN), found(OURS, "us-east-1"))

    assert destination.region == "us-east-1"


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ('account = "1234"', ("deployment.account",)),
        ('region = "Frankfurt"', ("deployment.region",)),
        ('profile = "gold"', ("profile", "low-cost", "standard")),
        ('alarm_email = "ops@example.com"', ("alarm_email", "low-cost")),
        ('profile = "standard"\nalarm_email = "nobody"', ("deployment.alarm_email",)),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(
    tmp_path: Path, text: str, data: tuple[object, ...]
) -> None:
    with raises(ConfigInvalid, *data):
        configured(tmp_path, f"[deployment]\n{text}")
