"""The frame of the command line: lazy commands, and errors as lines with exit codes."""

import errno
import importlib
import json
import os
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from onnxlift import cli
from onnxlift_runtime.errors import ConfigInvalid, OnnxliftError, QualityGateFailed
from tests.support.surroundings import ignoring

HEAVY = ("numpy", "onnx", "onnxruntime", "pydantic", "boto3", "uvicorn", "httpx", "rich")


def _run_raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> tuple[int, str, str]:
    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(cli.CommandLine, "get_command", lambda *_: command)
    result = CliRunner().invoke(cli.main, ["anything"])
    return result.exit_code, result.stdout, result.stderr


def test_help_loads_no_heavy_library() -> None:
    program = (
        "import sys, json\nfrom onnxlift.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "compress" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_shows_the_registered_line_as_its_help(name: str) -> None:
    command = importlib.import_module(f"onnxlift.cli.{name}").command

    line = command.get_short_help_str(limit=200)

    assert line == cli.COMMANDS[name]


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli.main, ["compres"])

    assert result.exit_code == 2
    assert "compres" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OnnxliftError("what, which, expected"), 1),
        (QualityGateFailed("too bad"), 1),
        (ConfigInvalid("a\nb"), 2),
    ],
)
def test_an_error_is_its_message_on_stderr_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: OnnxliftError, code: int
) -> None:
    exit_code, stdout, stderr = _run_raising(monkeypatch, error)

    assert exit_code == code
    assert stdout == ""
    assert stderr == f"{error}\n"


def test_ctrl_c_exits_130_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    exit_code, stdout, stderr = _run_raising(monkeypatch, KeyboardInterrupt())

    assert exit_code == 130
    assert (stdout, stderr) == ("", "stopped\n")


def test_ctrl_c_inside_an_import_exits_130_too(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ImportError("initialization failed")
    error.__cause__ = KeyboardInterrupt()

    exit_code, _, stderr = _run_raising(monkeypatch, error)

    assert (exit_code, stderr) == (130, "stopped\n")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "report.npy"),
            "report.npy: Permission denied\n",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device\n"),
        (OSError("no number"), "no number\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), ""),
    ],
)
def test_what_the_system_refuses_is_one_line_but_for_a_pipe_that_nobody_reads(
    monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    exit_code, stdout, stderr = _run_raising(monkeypatch, error)

    assert (exit_code, stdout, stderr) == (1, "", words)


def test_the_end_of_the_terminal_stays_ignored_under_nohup() -> None:
    with ignoring(signal.SIGHUP):
        CliRunner().invoke(cli.main, ["jobs", "--help"])
        after = signal.getsignal(signal.SIGHUP)

    assert after is signal.SIG_IGN


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ZeroDivisionError("a mistake of ours")

    exit_code, _, stderr = _run_raising(monkeypatch, error)

    assert (exit_code, stderr) == (1, "")


def test_a_terminal_without_arrows_gets_question_marks() -> None:
    program = (
        "import click\nfrom onnxlift import cli\n"
        "cli.CommandLine.get_command = lambda *_: click.Command('c', callback=lambda: "
        "click.echo('a → b'))\n"
        "cli.main(['c'])"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}

    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )

    assert done.stdout == b"a ? b\n"


def test_version_prints_the_package_version() -> None:
    result = CliRunner().invoke(cli.main, ["--version"])

    assert result.stdout.startswith("onnxlift, version ")
