"""Go on in the project's own Python where the one that was started lacks what the CDK app needs.

Read by whatever ``python3`` a machine has, before anything of the project is known to be there: it
loads the standard library alone, and keeps to a syntax that Python 3.7 knows.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("aws_cdk", "onnxlift_runtime", "pydantic")


def use_project_python(module: str, arguments: list[str]) -> None:
    """Return where this Python can run ``module``; else replace it by the one in ``.venv``, or exit
    1 with one line.
    """
    if all(importlib.util.find_spec(name) for name in NEEDED):
        return
    program = ROOT / ".venv" / "bin" / "python"
    if Path(sys.prefix) == ROOT / ".venv" or not program.exists():
        sys.exit("error: the CDK app's packages are not installed; run `make setup`")
    sys.stdout.flush()
    os.execv(program, [str(program), "-m", module, *arguments])  # noqa: S606
