"""``onnxlift.toml``: what it accepts, what it says about what it does not, and its published descriptions."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxlift.compress import recipes
from onnxlift.compress.quality import METRICS
from onnxlift.config import Config, Model, load_config
from onnxlift_runtime.errors import ConfigInvalid

ROOT = Path(__file__).parents[2]
MINIMAL = """
service = "demo"
[models.digits]
source = "digits.onnx"
[models.digits.quality]
samples = "heldout.npz"
"""


def _load(folder: Path, text: str) -> Config:
    path = folder / "onnxlift.toml"
    path.write_text(text)
    return load_config(path)


def _refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        _load(folder, text)
    return str(caught.value)


def test_the_repository_s_own_file_is_valid() -> None:
    config = load_config(ROOT / "onnxlift.toml")

    assert config.models["digits"].source == ROOT / "examples/digits/digits.onnx"


def test_defaults_fill_what_a_minimal_file_leaves_out(tmp_path: Path) -> None:
    config = _load(tmp_path, MINIMAL)

    model = config.models["digits"]
    assert (model.version, model.recipe, model.architecture) == (1, "auto", "x86_64")
    assert (model.quality.metric, model.quality.max_drop) == ("top1_agreement", 0.01)
    assert config.artifact_folder("digits") == tmp_path / "artifacts" / "digits" / "1"


def test_relative_paths_start_at_the_file_and_absolute_ones_stay(tmp_path: Path) -> None:
    text = MINIMAL.replace('"heldout.npz"', '"/data/heldout.npz"').replace(
        "[models.digits.quality]", 'classes = "names.txt"\n[models.digits.quality]'
    )

    model = _load(tmp_path, text).models["digits"]

    assert model.source == tmp_path / "digits.onnx"
    assert model.classes == tmp_path / "names.txt"
    assert model.quality.samples == Path("/data/heldout.npz")


def test_a_list_of_classes_stays_a_list(tmp_path: Path) -> None:
    text = MINIMAL.replace("[models.digits.quality]", 'classes = ["a", "b"]\n[models.digits.quality]')

    assert _load(tmp_path, text).models["digits"].classes == ("a", "b")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('source = "digits.onnx"', "", ["models.digits.source", "missing"]),
        ('service = "demo"', 'service = "Demo Service"', ["service", "'Demo Service'", "^[a-z]"]),
        (
            'source = "digits.onnx"',
            'source = "a"\nrecipe = "int4"',
            ["models.digits.recipe", "'int4'", "'int8-static'"],
        ),
        (
            'source = "digits.onnx"',
            'source = "a"\nversion = 0',
            ["models.digits.version", "0", "greater than or equal to 1"],
        ),
        ('source = "digits.onnx"', 'source = "a"\nverison = 2', ["models.digits.verison", "unknown key"]),
        ('"heldout.npz"', '"h.npz"\nmax_drop = 2', ["models.digits.quality.max_drop", "2", "less than or equal to 1"]),
        (
            '"heldout.npz"',
            '"h.npz"\nmetric = "auc"',
            ["models.digits.quality.metric", "'auc'", "'accuracy'", "'cosine'"],
        ),
        ("[models.digits]", "[models.Digits]", ["models.Digits"]),
    ],
)
def test_a_refusal_names_file_key_value_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    message = _refusal(tmp_path, MINIMAL.replace(old, new))

    for word in [str(tmp_path / "onnxlift.toml"), *words]:
        assert word in message


def test_every_mistake_gets_its_own_line(tmp_path: Path) -> None:
    message = _refusal(tmp_path, MINIMAL.replace('"demo"', "7").replace('"heldout.npz"', '"h.npz"\nmax_drop = "x"'))

    assert len(message.splitlines()) == 2


def test_calibration_and_quality_cannot_share_a_file(tmp_path: Path) -> None:
    message = _refusal(tmp_path, MINIMAL + '[models.digits.calibration]\nsamples = "heldout.npz"\n')

    assert "models.digits" in message
    assert "the gate needs samples of its own" in message


def test_a_missing_file_says_what_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"nowhere\.toml does not exist; start from"):
        load_config(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("content", ["service = @", "[models\n", "\x00"])
def test_a_file_that_is_no_toml_is_refused_with_its_place(tmp_path: Path, content: str) -> None:
    message = _refusal(tmp_path, content)

    assert "is not TOML" in message
    assert "line 1" in message


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "onnxlift.toml"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigInvalid, match=r"onnxlift\.toml is not UTF-8 text"):
        load_config(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be read: Is a directory"):
        load_config(tmp_path)


@pytest.mark.parametrize("architecture", sorted(recipes.PRESETS))
def test_the_configuration_allows_exactly_the_recipes_there_are(architecture: str) -> None:
    allowed = set(Model.model_json_schema()["properties"]["recipe"]["enum"])

    assert allowed == {"auto", *(recipe.name for recipe in recipes.recipes(architecture))}


def test_the_configuration_allows_exactly_the_metrics_there_are() -> None:
    schema = Config.model_json_schema()

    assert set(schema["$defs"]["Quality"]["properties"]["metric"]["enum"]) == set(METRICS)


def test_the_published_schema_is_the_code_s() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "onnxlift.config"], capture_output=True, text=True, check=True
    ).stdout

    published = (ROOT / "docs/onnxlift.schema.json").read_text()

    assert published == printed, "write it anew: python -m onnxlift.config > docs/onnxlift.schema.json"
    assert json.loads(published)["$schema"].endswith("2020-12/schema")


def test_the_documentation_describes_every_key_and_no_other() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    headings = {
        "": "## The file",
        "models": "## `[models.NAME]`",
        "api": "## `[api]`",
        "api.throttle": "## `[api.throttle]`",
    }

    for table, keys in _tables(Config.model_json_schema()):
        heading = headings.get(table, f"## `[{table.replace('models', 'models.NAME', 1)}]`")
        section = text.split(heading + "\n", 1)[1].split("\n## ", 1)[0]
        assert set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)) == keys, table


def _tables(schema: dict[str, Any]) -> Iterator[tuple[str, set[str]]]:
    """Every table of the file as (dotted name, its keys); a model's name is left out."""

    def visit(name: str, table: dict[str, Any]) -> Iterator[tuple[str, set[str]]]:
        yield name, set(table["properties"])
        for key, value in table["properties"].items():
            for reference in re.findall(r'"#/\$defs/(\w+)"', json.dumps(value)):
                yield from visit(f"{name}.{key}".lstrip("."), schema["$defs"][reference])

    yield from visit("", schema)
