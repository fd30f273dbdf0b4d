"""What holds for every test: a slow machine is no failure, nothing comes from the terminal
or the shell, and the log level is the default one.
"""

from collections.abc import Iterator

import hypothesis
import pytest

from onnxlift_runtime import telemetry
from tests.support import counts
from tests.support.surroundings import settle

hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=500)
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
        "--update-golden", action="store_true", help="rewrite the golden files in tests/golden"
    )
    parser.addoption(
        "--fuzz", action="store_true", help="give the tests of many inputs all of them"
    )
    parser.addoption(
        "--e2e", action="store_true", help="deploy the service to an emulator of AWS and use it"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set how many inputs a test tries before any test is imported."""
    counts.fuzzing = config.getoption("--fuzz")
    hypothesis.settings.load_profile("fuzz" if counts.fuzzing else "quick")


@pytest.fixture(autouse=True)
def _log_level() -> Iterator[None]:
    """A handler under test sets the level of its process, which is every test's process."""
    telemetry.configure("INFO")
    yield
    telemetry.configure("INFO")
