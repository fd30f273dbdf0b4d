"""HTML and SVG elements whose text and attributes cannot break out, whatever a model file is called
inside.

Pages are trees of ``xml.etree`` elements; its serialiser escapes every text and attribute once, at
the end.
"""

import re
from typing import Final, TypeAlias
from xml.etree import ElementTree as ET

Element: TypeAlias = ET.Element
Content: TypeAlias = "Element | str | None"
# What HTML forbids in text: control characters, surrogates and non-characters.
_FORBIDDEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def element(tag: str, *content: Content, **attributes: str | float | None) -> Element:
    """Make an element; an attribute's ``_`` becomes ``-``, a trailing one vanishes, None leaves the
    attribute out.
    """
    made = ET.Element(
        tag, {_name(key): _value(value) for key, value in attributes.items() if value is not None}
    )
    for item in content:
        _append(made, item)
    return made


def document(title: str, style: str, *content: Content) -> str:
    """A whole page; its own rule forbids every script and every request, should anything slip
    through.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    page = element("html", head, element("body", element("main", *content)), lang="en")
    return "<!doctype html>\n" + ET.tostring(page, encoding="unicode", method="html") + "\n"


def clean(text: str) -> str:
    """Text without the characters that HTML forbids; each becomes the replacement character."""
    return _FORBIDDEN.sub("\ufffd", text)


def code(name: str, limit: int = 120) -> Element:
    """A name out of a model file, shortened in its middle where it is very long; the whole one
    shows on hover.
    """
    if len(name) <= limit:
        return element("code", name)
    half = limit // 2
    return element("code", f"{name[:half]}…{name[-half:]}", title=name[:2000])


def _append(parent: Element, item: Content) -> None:
    if isinstance(item, str):
        _write(parent, clean(item))
    elif item is not None:
        parent.append(item)


def _write(parent: Element, text: str) -> None:
    """``ElementTree`` keeps text with the child before it, or with the parent where it is first."""
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return clean(value) if isinstance(value, str) else f"{value:.6g}"
