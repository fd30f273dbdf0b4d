"""What a test of the HTTP API can be pointed at: the local service, an image in a container, or a
deployed API.

The local service is there for every run; ``--images`` adds the image, and the environment names a
deployed API.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest

TARGETS: Final = ("serve", "image", "deployed")
DEPLOYED_URL: Final = "ONNXLIFT_TEST_URL"
DEPLOYED_KEY: Final = "ONNXLIFT_TEST_KEY"
DEPLOYED_MODELS: Final = "ONNXLIFT_TEST_MODELS"


@dataclass(frozen=True, slots=True)
class Target:
    """The address of an API, the names of the test models behind it, and what it wants with each
    request.
    """

    url: str
    models: frozenset[str]
    headers: Mapping[str, str] = field(default_factory=dict)


def deployed_target() -> Target:
    """The API that the environment names with its key and, parted by commas, its models; skips
    where it names none.
    """
    url = os.environ.get(DEPLOYED_URL, "")
    if not url:
        pytest.skip(f"{DEPLOYED_URL} names no deployed API")
    key = os.environ.get(DEPLOYED_KEY, "")
    models = frozenset(os.environ.get(DEPLOYED_MODELS, "").split(","))
    return Target(url, models, {"x-api-key": key} if key else {})
