"""The cloud assembly as the CDK app writes it, read back from its files."""

import functools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.node import find_node, node_environment

ROOT = Path(__file__).resolve().parents[2]
Resource = dict[str, Any]
OUT = "cdk.out"
NESTED = ".nested"
TOLD = " Nested Stack Template"  # how the CDK tells the file of a nested stack


@dataclass(frozen=True)
class Assembly:
    """One folder of templates and assets."""

    folder: Path

    @property
    def deployed(self) -> list[str]:
        """The names of the stacks that ``cdk`` knows."""
        paths = self.folder.glob("*.template.json")
        return sorted(
            stack
            for path in paths
            if not (stack := path.name.removesuffix(".template.json")).endswith(NESTED)
        )

    @functools.cached_property
    def files(self) -> dict[str, Path]:
        """The template of every stack; one that is nested in another is named as its neighbour
        would be.
        """
        files = {stack: self.folder / f"{stack}.template.json" for stack in self.deployed}
        for stack in self.deployed:
            assets = json.loads((self.folder / f"{stack}.assets.json").read_text())[
                "files"
            ].values()
            nested = {
                asset["displayName"]: asset["source"]["path"]
                for asset in assets
                if "displayName" in asset
            }
            for told, path in nested.items():
                if told.endswith(TOLD):
                    files[f"{stack}-{told.removesuffix(TOLD)}"] = self.folder / path
        return files

    @property
    def stacks(self) -> list[str]:
        """The names of all stacks."""
        return sorted(self.files)

    def template(self, stack: str) -> dict[str, Any]:
        """The CloudFormation template of a stack."""
        template: dict[str, Any] = json.loads(self.files[stack].read_text())
        return template

    def resources(self, stack: str, kind: str) -> dict[str, Resource]:
        """The resources of one type in a stack, by logical id."""
        found = self.template(stack)["Resources"].items()
        return {name: resource for name, resource in found if resource["Type"] == kind}

    def only(self, stack: str, kind: str) -> Resource:
        """The properties of the only resource of a type."""
        (resource,) = self.resources(stack, kind).values()
        properties: Resource = resource["Properties"]
        return properties

    def name(self, stack: str, kind: str) -> str:
        """The logical id of the only resource of a type."""
        (name,) = self.resources(stack, kind)
        return name

    def having(self, stack: str, kind: str, name: str, value: str) -> Resource:
        """The properties of the only resource of a type in which one property is this text."""
        found = [resource["Properties"] for resource in self.resources(stack, kind).values()]
        (properties,) = (each for each in found if flat(each.get(name, "")) == value)
        chosen: Resource = properties
        return chosen

    def allowed(self, stack: str, function: str) -> set[tuple[str, str]]:
        """What the role of a construct may do: every action with each of its resources."""
        policies = self.permissions(stack).items()
        (pairs,) = (pairs for name, pairs in policies if name.startswith(f"{function}Identity"))
        return pairs

    def permissions(self, stack: str) -> dict[str, set[tuple[str, str]]]:
        """What each policy of a stack allows, by logical id: every action with each of its
        resources.
        """
        return {
            name: _allowed(policy)
            for name, policy in self.resources(stack, "AWS::IAM::Policy").items()
        }

    def asset_files(self, resource: Resource) -> set[str]:
        """Every file of a resource's asset, relative to the asset's folder."""
        (digest,) = set(re.findall(r"[0-9a-f]{64}", json.dumps(resource["Properties"])))
        folder = self.folder / f"asset.{digest}"
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _allowed(policy: Resource) -> set[tuple[str, str]]:
    return {
        (
            action,
            re.sub(
                r"^arn:<AWS::Partition>:(\w+):(<AWS::Region>:<AWS::AccountId>|:):?",
                r"\1 ",
                flat(resource),
            ),
        )
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
        for action in _as_list(statement["Action"])
        for resource in _as_list(statement["Resource"])
    }


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def flat(value: Any) -> str:
    """A CloudFormation string as text; references stay recognisable."""
    if isinstance(value, dict) and "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return str(separator).join(map(flat, parts))
    if isinstance(value, dict) and "Fn::Sub" in value:
        return str(value["Fn::Sub"])
    if isinstance(value, dict):
        return f"<{value.get('Ref') or value['Fn::GetAtt'][0]}>"
    return str(value)


def synthesise(config: Path, out: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the app as the CDK command line runs it, with the context of ``cdk.json``.

    The CDK's own rules take ten seconds to load: ``nag`` holds every service against them in one
    process instead.
    """
    context = json.loads((ROOT / "cdk.json").read_text())["context"] | {"config": str(config)}
    return subprocess.run(
        [sys.executable, "-m", "infra.app"],
        cwd=ROOT,
        env={
            **os.environ,
            "CDK_OUTDIR": str(out),
            "CDK_CONTEXT_JSON": json.dumps(context),
            "CDK_VALIDATION": "false",
            **environ,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def synthesise_all(*configs: Path) -> list[Assembly]:
    """The assembly of each service, all of them from one process."""
    environ = {**node_environment(os.environ, find_node()), "CDK_VALIDATION": "false"}
    command = [sys.executable, "-m", "tests.infra.assemblies", *map(str, configs)]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [Assembly(config.parent / OUT) for config in configs]
