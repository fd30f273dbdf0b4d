"""The emulated account: the ``cdk`` command line and boto3 clients that talk to it."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import boto3

from infra.images.engine import CHOSEN
from tests.e2e.emulator import ACCOUNT, CREDENTIALS, REGION
from tests.support.targets import Target

ROOT: Final = Path(__file__).resolve().parents[2]
CDK: Final = (sys.executable, "-m", "infra.node", "cdk")
NESTED: Final = "NestedStack"  # how the CDK names them; the emulator does not tell whose they are
DEPLOY: Final = ("deploy", "--all", "--require-approval=never")


@dataclass(frozen=True)
class Cloud:
    """The emulator at ``url``; ``folder`` keeps onnxlift.toml, artifacts and the cloud assembly."""

    url: str
    folder: Path
    environ: Mapping[str, str] = field(repr=False)

    @classmethod
    def at(cls, url: str, folder: Path, engine: str) -> "Cloud":
        """The account behind an emulator's URL, with a docker for cdk in ``folder`` that works with
        ``engine``.
        """
        program = folder / "docker"
        python = shlex.quote(sys.executable)
        program.write_text(
            f'#!/bin/sh\n{CHOSEN}={shlex.quote(engine)} exec {python} -m tests.e2e.program "$@"\n'
        )
        program.chmod(0o755)
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        nowhere = str(folder / "no-settings-of-this-machine")
        settings = {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": url,
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
            "AWS_EC2_METADATA_DISABLED": "true",
            CHOSEN: str(program),
            "PYTHONPATH": path,
            "NO_COLOR": "1",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return cls(url, folder, kept | settings)

    @property
    def config(self) -> Path:
        """The service's one file."""
        return self.folder / "onnxlift.toml"

    def bootstrap(self) -> str:
        """What ``cdk bootstrap`` prints."""
        return self._cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}", *self._app())

    def deploy(self) -> str:
        """What ``cdk deploy`` of everything prints."""
        return self._cdk(*DEPLOY, *self._app())

    def refused(self, **environ: str) -> str:
        """What a ``cdk deploy`` prints that fails, with other variables in its environment."""
        status, told = replace(self, environ={**self.environ, **environ})._attempt(
            *DEPLOY, *self._app()
        )
        assert status != 0, told
        return told

    def take_over(self, stack: str, found: Mapping[str, Mapping[str, str]]) -> str:
        """What ``cdk import`` prints that is told how each resource is found, by logical id."""
        return self._cdk(
            "import", stack, "--resource-mapping-inline", json.dumps(found), *self._app()
        )

    def destroy(self, *stacks: str) -> str:
        """What ``cdk destroy`` of these stacks, or of everything, prints."""
        return self._cdk("destroy", *(stacks or ("--all",)), "--force", *self._app())

    def client(self, service: str) -> Any:
        """A boto3 client of one AWS service."""
        session = boto3.Session(ACCOUNT, "none", region_name=REGION)
        return session.client(service, endpoint_url=self.url)

    def output(self, stack: str, name: str) -> str:
        """An output of a deployed stack."""
        (described,) = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        (value,) = (
            each["OutputValue"] for each in described["Outputs"] if each["OutputKey"] == name
        )
        return str(value)

    def api(self, service: str) -> Target:
        """The service's API with its key; the emulator answers for Amazon's host name at a path of
        its own.
        """
        host, _, stage = self.output(service, "Url").removeprefix("https://").partition("/")
        key = self.client("apigateway").get_api_key(
            apiKey=self.output(service, "KeyId"), includeValue=True
        )["value"]
        url = f"{self.url}/_aws/execute-api/{host.partition('.')[0]}/{stage}"
        return Target(url, frozenset(("mlp", "linear")), {"x-api-key": key})

    def stacks(self, *, nested: bool = False) -> list[str]:
        """The names of the stacks that are there: those that were deployed, or those nested in one
        of them.
        """
        listed = self.client("cloudformation").describe_stacks()["Stacks"]
        there = [stack for stack in listed if not stack["StackStatus"].startswith("DELETE")]
        return sorted(
            stack["StackName"] for stack in there if (NESTED in stack["StackName"]) is nested
        )

    def _app(self) -> tuple[str, ...]:
        return "--context", f"config={self.config}", "--output", str(self.folder / "cdk.out")

    def _cdk(self, *arguments: str) -> str:
        status, told = self._attempt(*arguments)
        assert status == 0, told
        return told

    def _attempt(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [*CDK, *arguments],
            cwd=ROOT,
            env=dict(self.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr
