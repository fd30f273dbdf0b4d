"""The CDK app, as ``cdk.json`` starts it: ``python3 -m infra.app``, from whatever environment is
active, or from none.

``interpreter`` finds the project's Python and ``node`` a Node that the CDK supports; ``service``
composes the stacks.
"""

from __future__ import annotations  # see `interpreter`

import os
import sys

from infra.interpreter import ROOT, use_project_python


def main() -> int:
    """Write the cloud assembly; an error of the user's is one line on stderr and status 1, or 2 for
    configuration.
    """
    use_project_python("infra.app", sys.argv[1:])
    from infra.node import (
        find_node,
        node_environment,
    )  # only now is it known that they can be imported
    from onnxlift_runtime.errors import ConfigInvalid, OnnxliftError

    try:
        os.environ.update(node_environment(os.environ, find_node()))
        from infra.service import synthesise  # starts a Node process, which must be the right one

        synthesise(ROOT, os.environ)
    except OnnxliftError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, ConfigInvalid) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
