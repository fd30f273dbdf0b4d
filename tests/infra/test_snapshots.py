"""Every resource of every stack, one on each line, against what was looked at when it last changed.

The lines hold what a reviewer asks of a resource: its type, its logical id, because another one
replaces it, what becomes of it when it goes, and its plain properties. Environment, policies and
documents have tests of their own. Digests are masked, so that a change of a function's code is none
of its stack's.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.infra.assembly import Assembly, flat

FOLDER = Path(__file__).parent / "snapshots"
UPDATE = (
    "`pytest tests/infra/test_snapshots.py --update-snapshots` takes the new lines over; "
    "look at them in the diff"
)
DIGEST = re.compile(r"(?:[0-9a-f]{64}|[0-9a-f]{32})(?![0-9a-f])")
# Words for people, and what other properties say already.
LEFT_OUT = {"Metadata", "DependsOn", "Description", "AlarmDescription", "Tags"}


def test_every_resource_is_as_it_was_last_looked_at(
    shop: Assembly,
    lab: Assembly,
    group: Assembly,
    accelerated: Assembly,
    request: pytest.FixtureRequest,
) -> None:
    assemblies = {"shop": shop, "lab": lab, "group": group, "accelerated": accelerated}
    own = {
        "group": ("lab-gpu", "lab-gpu-big"),
        "accelerated": ("lab-gpu", "lab-gpu-big", "lab-model-small"),
    }
    written = {
        f"{name}.txt": "".join(listed(assembly, stack) for stack in own.get(name, assembly.stacks))
        for name, assembly in assemblies.items()
    }
    if request.config.getoption("--update-snapshots"):
        FOLDER.mkdir(exist_ok=True)
        for name, text in written.items():
            (FOLDER / name).write_text(text)

    assert {path.name for path in FOLDER.glob("*")} == set(written), UPDATE
    for name, text in written.items():
        assert text.splitlines() == (FOLDER / name).read_text().splitlines(), UPDATE


def listed(assembly: Assembly, stack: str) -> str:
    """A stack's resources in the order of their types, and below the stack's name."""
    found = sorted(
        assembly.template(stack)["Resources"].items(), key=lambda item: (item[1]["Type"], item[0])
    )
    return "\n".join([f"[{stack}]", *(line(name, resource) for name, resource in found), "", ""])


def line(name: str, resource: dict[str, Any]) -> str:
    """A resource: type, logical id, deletion policy where it is not the type's own, plain
    properties.
    """
    said = {
        "": "",
        "Delete": " (goes)",
        "Retain": " (stays)",
        "RetainExceptOnCreate": " (stays once made)",
    }
    kept = said[resource.get("DeletionPolicy", "")]
    properties = {
        key: value for key, value in resource.get("Properties", {}).items() if key not in LEFT_OUT
    }
    plain = {
        key: text for key, value in sorted(properties.items()) if (text := told(value)) is not None
    }
    shown = " ".join(f"{key}={text}" for key, text in plain.items())
    return masked(f"{resource['Type'].removeprefix('AWS::')} {name}{kept} {shown}".rstrip())


def told(value: Any) -> str | None:
    """A property that is a single value, as text; None for one with an inside."""
    if isinstance(value, bool | int | float | str):
        return json.dumps(value) if isinstance(value, bool) else str(value)
    if isinstance(value, dict) and set(value) & {"Ref", "Fn::GetAtt", "Fn::Join"}:
        try:
            return flat(value)
        except (KeyError, TypeError):
            return None
    return None


def masked(text: str) -> str:
    return DIGEST.sub("…", text)


def test_digests_are_masked_wherever_they_stand() -> None:
    assert masked(f"Version420AB2A1{'0a' * 16} Key={'b' * 64}.zip") == "Version420AB2A1… Key=….zip"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (True, "true"),
        ({"Ref": "Jobs"}, "<Jobs>"),
        ({"Statement": []}, None),
        (["a"], None),
    ],
)
def test_a_property_is_told_where_it_is_a_single_value(value: Any, text: str | None) -> None:
    assert told(value) == text
