"""Fixtures of the tests of ``compress.cpu``."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for what takes seconds to make."""
    return tmp_path_factory.mktemp("made-once")
