"""cdk-nag's AwsSolutions find nothing but what is meant, for the reason given here."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from infra.node import find_node, node_environment
from tests.infra.assembly import ROOT, Assembly

# Each rule, where it is broken, and why: a finding that is not here fails the test, and so does one
# no longer there.
EXCEPTIONS: Final = {
    (
        "S1",
        "data/Data",
    ): "who dropped what is in the jobs; access logs would need a second bucket that grows",
    (
        "SMG4",
        "data/Webhooks",
    ): "receivers hold keys derived from it: only their owner can say when they may change",
    (
        "IAM5 objects",
        "Identity/Role",
    ): "a prefix of our own bucket: objects have the names that callers give them",
    (
        "L1",
        "Function",
    ): "the zip functions run on the Python that the images have and the tests use",
    (
        "APIG2",
        "api/Gateway/Api",
    ): "functions check requests, tensors included, and say what is wrong with them",
    (
        "APIG3",
        "shop/api/Gateway/Api/DeploymentStage",
    ): "a firewall costs more than the idle service; standard has one",
    (
        "APIG6",
        "api/Gateway/Api/DeploymentStage",
    ): "the access log tells each call; execution logs could hold bodies",
    (
        "IAM4",
        "api/Gateway/Api/CloudWatchRole",
    ): "AWS's own policy for the account's one role that writes access logs",
    (
        "IAM5 everything",
        "Interfaces/Resource",
    ): "interfaces that Lambda is to make; the function's code is denied them",
    ("IAM5 objects", "gpu-"): "as for functions: a prefix of our own bucket",
    (
        "IAM5 tasks",
        "Worker/Task/TaskRole",
    ): "ECS names tasks when it starts them; they are those of our own cluster",
    (
        "IAM5 everything",
        "Worker/Task/ExecutionRole",
    ): "ecr:GetAuthorizationToken, which takes no resource",
    (
        "IAM5 everything",
        "gpu/Machines",
    ): "the CDK's policy for ECS's agent, which writes logs; no container can take that role",
    (
        "IAM5 submitting",
        "gpu/Machines",
    ): "the CDK's policy for ECS's agent: all kinds of reports, to our cluster alone",
    (
        "IAM4",
        "gpu/Machines",
    ): "AWS's own policies for the two roles that ECS Managed Instances are made with",
    (
        "IAM4",
        "gpu/Accelerators/Provider/OperatorRole",
    ): "AWS's own policy for the role that starts Lambda's machines",
    (
        "VPC7",
        "gpu/Network/Vpc",
    ): "nobody can call into it, and logs of what machines call cost by the GB",
    ("ECS2", "Worker/Task"): "they are names and numbers; a worker has no secret",
    ("ECS4", "gpu/Cluster"): "all that scaling and alarms look at, SQS and ECS tell for nothing",
    (
        "EC26",
        "gpu/Machines",
    ): "the launch template encrypts the disk (test_gpu_stack), where the rule does not look",
    (
        "AS3",
        "gpu/Machines",
    ): "ECS starts and ends machines with their tasks; that jobs are done is what alarms watch",
}
# What is behind the rule on wildcards, which comes with what was found.
WILDCARDS: Final = {
    r"Resource::arn:.*s3:::.*/\*": "objects",
    r"Resource::arn:.*:task/[^/]+/\*": "tasks",
    r"Resource::\*": "everything",
    r"Action::ecs:Submit\*": "submitting",
}


def _rule(name: str) -> str:
    """The rule without the service's names: ``AwsSolutions-IAM5[Resource::arn:…/in/*]`` is ``IAM5
    objects``.
    """
    rule, _, found = name.removeprefix("AwsSolutions-").removesuffix("]").partition("[")
    if rule != "IAM5":
        return rule
    return next(
        (f"IAM5 {kind}" for wildcard, kind in WILDCARDS.items() if re.fullmatch(wildcard, found)),
        name,
    )


def _exception(rule: str, path: str) -> tuple[str, str] | None:
    """The exception that a finding falls under."""
    return next((known for known in EXCEPTIONS if known[0] == rule and known[1] in path), None)


def test_every_finding_is_meant_and_has_its_reason(
    shop: Assembly, lab: Assembly, group: Assembly, accelerated: Assembly, tmp_path: Path
) -> None:
    configs = [
        str(assembly.folder.parent / "onnxlift.toml")
        for assembly in (shop, lab, group, accelerated)
    ]

    done = subprocess.run(
        [sys.executable, "-m", "tests.infra.nag", str(tmp_path), *configs],
        cwd=ROOT,
        env=node_environment(os.environ, find_node()),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    covered = {(name, path): _exception(_rule(name), path) for name, path in findings}
    assert [finding for finding, exception in covered.items() if exception is None] == []
    assert set(covered.values()) == set(EXCEPTIONS)
