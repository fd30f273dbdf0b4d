"""What a test run must not inherit from whoever started it: signal dispositions, the terminal's
size and colours, the locale.

``nohup``, a shell's background and many CI runners ignore signals, and every process that is
started from here would ignore them too.
"""

import contextlib
import locale
import os
import signal
from collections.abc import Iterator
from typing import Final

_PINNED: Final = {"LC_ALL": "C.UTF-8", "TERM": "dumb", "COLUMNS": "80", "LINES": "24"}
_UNSET: Final = (
    "LANG",
    "LANGUAGE",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
    "PYTHONWARNINGS",
    "PYTHONIOENCODING",
    "PYTHONUTF8",
)
_DEFAULT: Final = (signal.SIGTERM, signal.SIGCHLD)


def settle() -> None:
    """Pin all of it, for this process and for those that it starts."""
    os.environ.update(_PINNED)
    for name in _UNSET:
        os.environ.pop(name, None)
    with contextlib.suppress(locale.Error):  # a system without C.UTF-8 keeps its own
        locale.setlocale(locale.LC_ALL, "")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in _DEFAULT:
        signal.signal(number, signal.SIG_DFL)
    # A handler becomes the default one in a program that is started; this run itself goes on
    # under nohup.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _number, _frame: None)


@contextlib.contextmanager
def ignoring(number: signal.Signals) -> Iterator[None]:
    """Have this process, and those it starts meanwhile, ignore a signal, as under ``nohup``."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)
