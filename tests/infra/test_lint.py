"""cfn-lint finds nothing in any template, with the exceptions that ``.cfnlintrc`` gives reasons
for.
"""

import subprocess
import sys
from pathlib import Path

from tests.infra.assembly import ROOT, Assembly


def test_cfn_lint_finds_nothing_in_any_template(
    shop: Assembly, bare: Assembly, lab: Assembly, group: Assembly, accelerated: Assembly
) -> None:
    assemblies = (shop, bare, lab, group, accelerated)
    templates = [
        path for assembly in assemblies for path in assembly.folder.glob("*.template.json")
    ]
    distinct = {path.read_bytes(): str(path) for path in templates}

    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--", *distinct.values()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(templates) == 38
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
