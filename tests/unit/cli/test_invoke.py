"""``onnxlift invoke``: options that contradict each other are told before anybody is asked."""

import pytest
from click.testing import CliRunner

from onnxlift.cli import main


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--top", "2", "-o", "y=y.npy"], "use one of them"),
        (["--wait"], "it needs --async"),
        (["--async", "-o", "y=y.npy"], "add --wait"),
        (["-i", "x=2"], "'x' is given more than once"),
        (["-o", "y"], "'y' is not NAME=VALUE"),
    ],
)
def test_options_that_contradict_each_other_are_a_misuse(options: list[str], words: str) -> None:
    result = CliRunner().invoke(main, ["invoke", "tiny", "-i", "x=1", *options])

    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
