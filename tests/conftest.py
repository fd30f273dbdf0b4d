"""What holds for every test: a slow machine is no failure, nothing comes from the terminal
or the shell, and the log level is the default one.
"""

from collections.abc import Iterator

import hypothesis
import pytest

from onnxlift_runtime import telemetry
from tests.support.surroundings import settle

hypothesis.settings.register_profile("onnxlift", deadline=None)
hypothesis.settings.load_profile("onnxlift")
settle()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Images and deployments take minutes and a container engine, so that one has to ask for
    them.
    """
    parser.addoption(
        "--images", action="store_true", help="build the container images and run them"
    )
    parser.addoption(
        "--update-snapshots", action="store_true", help="take over what the stacks are made of now"
    )
    parser.addoption(
        "--e2e", action="store_true", help="deploy the service to an emulator of AWS and use it"
    )


@pytest.fixture(autouse=True)
def _log_level() -> Iterator[None]:
    """A handler under test sets the level of its process, which is every test's process."""
    telemetry.configure("INFO")
    yield
    telemetry.configure("INFO")
