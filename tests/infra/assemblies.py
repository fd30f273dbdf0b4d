"""``python -m tests.infra.assemblies CONFIG…``: write the cloud assembly of each service to
``cdk.out`` beside its configuration.

All are composed in one process, because starting the CDK takes longer than composing.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aws_cdk as cdk

from infra.destination import find_destination
from infra.service import compose
from onnxlift.config import load_config
from tests.infra.assembly import OUT, ROOT


@contextlib.contextmanager
def composed(config_path: Path, out: Path) -> Iterator[cdk.App]:
    """The app as ``infra.app`` composes it, not yet synthesised."""
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    app = cdk.App(analytics_reporting=False, outdir=str(out), context=context)
    config = load_config(config_path)
    with tempfile.TemporaryDirectory() as folder:
        compose(app, config, ROOT, Path(folder), find_destination(config, os.environ))
        yield app


def main(*configs: Path) -> None:
    """Write them, one after another."""
    for config in configs:
        with composed(config, config.parent / OUT) as app:
            app.synth()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
