"""cdk-nag's AwsSolutions find nothing but what is meant, for the reason given here."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.infra.assembly import ROOT, Assembly

# Each rule, where it is broken, and why: a finding that is not here fails the test, and so does one no longer there.
EXCEPTIONS: Final = {
    ("S1", "data/Data"): "who dropped what is in the jobs; access logs would need a second bucket that grows",
    ("SMG4", "data/Webhooks"): "receivers hold keys derived from it: only their owner can say when they may change",
    ("IAM5 objects", "Identity/Role"): "a prefix of our own bucket: objects have the names that callers give them",
    ("L1", "Function"): "the zip functions run on the Python that the images have and the tests use",
    ("APIG2", "api/Gateway/Api"): "functions check requests, tensors included, and say what is wrong with them",
    ("APIG3", "api/Gateway/Api/DeploymentStage"): "a firewall costs more than the idle service; deploying.md adds one",
    ("APIG6", "api/Gateway/Api/DeploymentStage"): "the access log tells each call; execution logs could hold bodies",
    ("IAM4", "api/Gateway/Api/CloudWatchRole"): "AWS's own policy for the account's one role that writes access logs",
}
_OBJECTS: Final = r"s3:::.*/\*\]$"


def _rule(name: str) -> str:
    """The rule without the service's names: ``AwsSolutions-IAM5[Resource::arn:…/in/*]`` is ``IAM5 objects``."""
    rule = re.sub(r"\[.*", "", name.removeprefix("AwsSolutions-"))
    if rule != "IAM5":
        return rule
    return "IAM5 objects" if re.search(_OBJECTS, name) else name


def _exception(rule: str, path: str) -> tuple[str, str] | None:
    """The exception that a finding falls under."""
    return next((known for known in EXCEPTIONS if known[0] == rule and known[1] in path), None)


def test_every_finding_is_meant_and_has_its_reason(shop: Assembly, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.infra.nag", str(shop.folder.parent / "onnxlift.toml"), str(tmp_path)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    covered = {(name, path): _exception(_rule(name), path) for name, path in findings}
    assert [finding for finding, exception in covered.items() if exception is None] == []
    assert set(covered.values()) == set(EXCEPTIONS)
