"""``python -m tests.infra.nag OUT CONFIG…``: what cdk-nag's AwsSolutions find in some services, as
lines of JSON.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from infra.node import find_node, node_environment
from infra.service import compose
from onnxlift.config import load_config
from tests.infra.assembly import ROOT

REPORT: Final = "validation-report.json"


def main(out: Path, *configs: Path) -> None:
    """Look at each service, one after another in one process, because starting the CDK takes as
    long as composing.
    """
    os.environ.update(node_environment(os.environ, find_node()))
    for number, config in enumerate(configs):
        inspect(config, out / str(number))


def inspect(config: Path, out: Path) -> None:
    """Compose the service as the app does, let the rules look at it, and print each finding with
    its construct.
    """
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    app = cdk.App(analytics_reporting=False, outdir=str(out), context=context)
    with tempfile.TemporaryDirectory() as folder:
        compose(app, load_config(config), ROOT, Path(folder), cdk.Environment())
        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
        try:
            app.synth()
        except RuntimeError:  # raised for any finding, after the report is written
            if not (out / REPORT).is_file():
                raise
    report = json.loads((out / REPORT).read_text())
    for plugin in report["pluginReports"]:
        for found in plugin["violations"] if plugin["pluginName"] == "AwsSolutions" else ():
            for construct in found["violatingConstructs"]:
                sys.stdout.write(json.dumps([found["ruleName"], construct["constructPath"]]) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
