"""The command line: ``onnxlift COMMAND``.

To add a command, write ``onnxlift/cli/<name>.py`` with a click command called ``command`` (shared
options are in ``options``) and add one line to ``COMMANDS``: its name and the first line of its
help. A command's file is imported when the command runs, so that ``onnxlift --help`` loads none of
the heavy libraries.

This is also the third edge where errors are translated: a command lets every ``OnnxliftError``
through, and the user sees its message on stderr and exit code 1, or 2 for ``ConfigInvalid``. So it
is with what the system refuses, such as a file that cannot be written. Ctrl-C, SIGTERM and the end
of the terminal arrive as ``KeyboardInterrupt``, so a command cleans up in ``finally`` blocks, and
exits with 130.
"""

import errno
import importlib
import io
import signal
import sys
import threading
from types import FrameType
from typing import Any, Final, NoReturn

import click

from onnxlift_runtime import __version__
from onnxlift_runtime.errors import ConfigInvalid, OnnxliftError

COMMANDS: Final = {
    "add": "Write the table of a model FILE into the configuration.",
    "compress": "Compress models as hard as their quality limit allows.",
    "inspect": "Show what is in a model FILE, and what may be compressed.",
    "invoke": "Run MODEL once and show its outputs.",
    "jobs": "List jobs, and show, fetch, cancel or retry one.",
    "plan": "Show where each model runs, why, and what it costs a month.",
    "serve": "Serve all compressed models on a local HTTP port.",
}
FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells report it


class CommandLine(click.Group):
    """A group whose commands are imported on use, and whose errors are lines, not tracebacks."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"onnxlift.cli.{name}").command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OnnxliftError as error:
            click.secho(str(error), fg="red", err=True)
            ctx.exit(MISUSED if isinstance(error, ConfigInvalid) else FAILED)
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever reads has enough: click ends in silence
                raise
            click.secho(_refusal(error), fg="red", err=True)
            ctx.exit(FAILED)
        except (KeyboardInterrupt, Exception) as error:
            if not _is_interruption(error):
                raise
            click.echo("stopped", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=CommandLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onnxlift")
def main() -> None:
    """Compress a trained model, put it behind one HTTPS API on AWS, run no servers."""
    # Not every terminal has arrows, and not every file name is text.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
            signal.signal(signal.SIGHUP, _interrupt)


def _refusal(error: OSError) -> str:
    """What the system refused, and of which file."""
    why = error.strerror or str(error)
    return f"{error.filename}: {why}" if error.filename else why


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _is_interruption(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the bottom of an error: C libraries that are being imported turn it into
    an ImportError.
    """
    return isinstance(error, KeyboardInterrupt) or (
        error is not None and _is_interruption(error.__cause__)
    )
