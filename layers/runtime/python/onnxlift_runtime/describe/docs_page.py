"""An OpenAPI document as one readable HTML page that loads nothing from anywhere."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #0a6cc4; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
p { white-space: pre-line; } code, pre { font: 13px/1.45 ui-monospace, monospace; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; }
summary { cursor: pointer; padding: .4rem .7rem; } details > div { padding: 0 .9rem .7rem; }
pre { background: var(--soft); padding: .7rem; border-radius: 6px; overflow: auto;
  max-height: 24rem; }
b { display: inline-block; min-width: 3.2rem; color: var(--accent); } small { opacity: .75; }
""".strip()


def render(document: Mapping[str, Any]) -> str:
    """The page of ``document``: one section for each tag, one line to open for each operation."""
    info = document["info"]
    sections = "\n".join(_section(document, tag) for tag in document["tags"])
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(info['title'])}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f"<h1>{escape(info['title'])}</h1>\n<small>onnxlift {escape(info['version'])} · "
        f'<a href="openapi.json">openapi.json</a></small>\n<p>{escape(info["description"])}</p>\n'
        f"{sections}\n</body>\n</html>\n"
    )


def _section(document: Mapping[str, Any], tag: Mapping[str, str]) -> str:
    operations = "\n".join(
        _operation(document, path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if tag["name"] in operation["tags"]
    )
    head = f"<h2>{escape(tag['name'])}</h2>\n<p>{escape(tag['description'])}</p>"
    return f"<section>\n{head}\n{operations}\n</section>"


def _operation(
    document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]
) -> str:
    title = (
        f"<b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"<small>{escape(operation['summary'])}</small>"
    )
    blocks = "\n".join(_block(name, text) for name, text in _blocks(document, operation))
    return f"<details>\n<summary>{title}</summary>\n<div>\n{blocks}\n</div>\n</details>"


def _blocks(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What an opened operation shows: how to call it, what to send, what comes back, what may go
    wrong.
    """
    for sample in operation.get("x-codeSamples", ()):
        yield "Try it", sample["source"]
    for name, content in (
        ("Request", operation.get("requestBody", {}).get("content", {})),
        ("Answer", operation["responses"]["200"].get("content", {})),
    ):
        for kind, media in content.items():
            if "example" in media:
                yield f"{name}, for example", _compact(media["example"])
            yield (
                f"{name} ({kind})",
                json.dumps(_resolved(document, media["schema"]), indent=2, ensure_ascii=False),
            )
    failures = {
        status: _resolved(document, answer) for status, answer in operation["responses"].items()
    }
    yield (
        "Errors",
        "\n".join(
            f"{code}  {told['description']}" for code, told in failures.items() if code != "200"
        ),
    )


def _block(name: str, text: str) -> str:
    return f"<small>{escape(name)}</small>\n<pre>{escape(text)}</pre>"


def _compact(example: Any) -> str:
    """Small JSON, one key of the top object on each line."""
    if not isinstance(example, dict):
        return json.dumps(example, ensure_ascii=False)
    lines = (
        f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in example.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}"


def _resolved(document: Mapping[str, Any], value: Mapping[str, Any]) -> Any:
    """``value``, or what it refers to in the document."""
    found: Any = value
    for step in value.get("$ref", "").split("/")[1:]:
        found = document[step] if found is value else found[step]
    return found
