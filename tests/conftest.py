"""What holds for every test: a slow machine is no failure, and the log level is the default one."""

from collections.abc import Iterator

import hypothesis
import pytest

from onnxlift_runtime import telemetry

hypothesis.settings.register_profile("onnxlift", deadline=None)
hypothesis.settings.load_profile("onnxlift")


@pytest.fixture(autouse=True)
def _log_level() -> Iterator[None]:
    """A handler under test sets the level of its process, which is every test's process."""
    telemetry.configure("INFO")
    yield
    telemetry.configure("INFO")
