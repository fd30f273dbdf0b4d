"""Check an error by its class and its data; tests/golden/errors.txt holds the wording."""

import re
from typing import TypeVar

import pytest

Error = TypeVar("Error", bound=BaseException)


def raises(kind: type[Error] | tuple[type[Error], ...], *data: object) -> pytest.RaisesExc[Error]:
    """Expect an error of ``kind`` whose message names every item of ``data``.

    An item is a name, a number, a path, or a limit. An item counts only as a whole word: 3 is not
    in 300. If only words distinguish two failures of one class, an item is one keyword.
    """

    def check(error: Error) -> bool:
        assert missing(str(error), *data) == [], str(error)
        return True

    # No generator: its frame would hold the error, and with it whatever the error holds open.
    return pytest.raises(kind, check=check)


def missing(message: str, *data: object) -> list[object]:
    """The items of ``data`` that ``message`` does not name."""
    return [item for item in data if not named(item, message)]


def named(item: object, message: str) -> bool:
    """Whether ``item`` is in ``message``, not only as a part of a longer word or number."""
    text = str(item)
    before = r"(?<!\w)" if re.match(r"\w", text) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", text) else ""
    return re.search(f"{before}{re.escape(text)}{after}", message) is not None
