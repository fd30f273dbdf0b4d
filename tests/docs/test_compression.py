"""The page about compression names what there is."""

import re
from pathlib import Path
from typing import Final

import pytest

from onnxlift.compress.recipes.presets import PRESETS

PAGE: Final = Path(__file__).resolve().parents[2] / "docs/compression.md"
_ENDINGS: Final = re.compile(r"-(?:entropy|percentile|mix\d+|tables4)(?=$|-)")


@pytest.mark.parametrize("target", sorted(PRESETS))
def test_every_recipe_is_described_by_its_name_and_endings(target: str) -> None:
    page = PAGE.read_text("utf-8")

    for recipe in PRESETS[target]():
        assert f"`{_ENDINGS.sub('', recipe.name)}`" in page, recipe.name
        assert all(f"{ending}`" in page for ending in _ENDINGS.findall(recipe.name)), recipe.name


def test_the_page_names_no_recipe_that_is_not_there() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    names = {recipe.name for preset in PRESETS.values() for recipe in preset()}

    for word in re.findall(r"`([^`]+)`", " ".join(rows)):
        assert any(word.lstrip("…") in name for name in names), word


def test_the_readme_of_the_documents_leads_to_the_page() -> None:
    assert "(compression.md)" in PAGE.with_name("README.md").read_text("utf-8")
