"""``python -m tests.infra.nag OUT CONFIG…``: what cdk-nag's AwsSolutions and the CDK's own rules
find in some services, as lines of JSON.
"""

import json
import sys
from pathlib import Path
from typing import Final

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from tests.infra.assemblies import composed

REPORT: Final = "validation-report.json"


def main(out: Path, *configs: Path) -> None:
    """Look at each service, one after another in one process, because starting the CDK takes as
    long as composing.
    """
    for number, config in enumerate(configs):
        inspect(config, out / str(number))


def inspect(config: Path, out: Path) -> None:
    """Compose the service as the app does, let the rules look at it, and print each finding with
    its construct.
    """
    with composed(config, out) as app:
        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
        try:
            app.synth()
        except RuntimeError:  # raised for any finding, after the report is written
            if not (out / REPORT).is_file():
                raise
    report = json.loads((out / REPORT).read_text())
    for plugin in report["pluginReports"]:
        for found in plugin["violations"]:
            if found["ruleName"].startswith("Annotation::"):  # what the app itself says
                continue
            for construct in found["violatingConstructs"]:
                sys.stdout.write(json.dumps([found["ruleName"], construct["constructPath"]]) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
