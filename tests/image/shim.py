"""HTTP in front of a function in a container, in a process of its own: ``python -m tests.image.shim
URL``.

The local gateway makes API Gateway's event of each request and the emulator takes it, one at a
time.
"""

import json
import sys
import urllib.request
from collections.abc import Mapping
from typing import Any

from onnxlift.local.functions.gateway import Bounds, Gateway
from onnxlift.local.functions.wiring import Wiring
from onnxlift.local.process import READY
from onnxlift.local.server import address, listen, run


def main(url: str) -> int:
    """Serve until SIGTERM."""

    def post(event: Mapping[str, Any], _context: Any) -> Mapping[str, Any]:
        with urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(event).encode())
        ) as answer:
            decoded: dict[str, Any] = json.loads(answer.read())
        if "statusCode" not in decoded:
            raise RuntimeError(f"the function failed: {decoded}")
        return decoded

    sock = listen("127.0.0.1", 0)
    # Every path goes to the one function, which knows all of its models' endpoints.
    gateway = Gateway(Wiring({"control": post}, frozenset()), Bounds(workers=1))
    return run(gateway, sock, lambda: print(f"{READY}{address(sock)}", flush=True))  # noqa: T201


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
