"""``onnxlift.toml``: what it accepts, what it says about what it does not, and its published
descriptions.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxlift.compress.cpu.instructions import InstructionSet
from onnxlift.compress.gate.metrics import METRICS
from onnxlift.compress.recipes.presets import PRESETS, recipes
from onnxlift.config import INSTRUCTION_SETS, Config, Model, load_config
from onnxlift.config import METRICS as NAMED
from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.names import resource_name
from tests.support.errors import raises

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


@pytest.mark.parametrize(
    "written", [b"\xef\xbb\xbf" + MINIMAL.encode(), MINIMAL.replace("\n", "\r\n").encode()]
)
def test_a_file_as_editors_on_windows_write_it_is_read(tmp_path: Path, written: bytes) -> None:
    path = tmp_path / "onnxlift.toml"
    path.write_bytes(written)

    config = load_config(path)

    assert config.service == "demo"


def test_keys_that_contradict_each_other_are_told_without_the_whole_table(tmp_path: Path) -> None:
    told = _refusal(
        tmp_path,
        MINIMAL.replace(
            "[models.digits.q", 'calibration.samples = "heldout.npz"\n[models.digits.q'
        ),
    )

    same = (
        "calibration.samples and quality.samples are the same file; the gate needs samples of "
        "its own"
    )
    assert told == f"{tmp_path}/onnxlift.toml: models.digits: {same}"


def test_relative_paths_start_at_the_file_and_absolute_ones_stay(tmp_path: Path) -> None:
    text = MINIMAL.replace('"heldout.npz"', '"/data/heldout.npz"').replace(
        "[models.digits.quality]", 'classes = "names.txt"\n[models.digits.quality]'
    )

    model = _load(tmp_path, text).models["digits"]

    assert model.source == tmp_path / "digits.onnx"
    assert model.classes == tmp_path / "names.txt"
    assert model.quality.samples == Path("/data/heldout.npz")


def test_a_list_of_classes_stays_a_list(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        "[models.digits.quality]", 'classes = ["a", "b"]\n[models.digits.quality]'
    )

    assert _load(tmp_path, text).models["digits"].classes == ("a", "b")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('source = "digits.onnx"', "", ["models.digits.source", "missing"]),
        ('service = "demo"', 'service = "Demo Service"', ["service", "'Demo Service'", "^[a-z]"]),
        (
            'source = "digits.onnx"',
            'source = "a"\nrecipe = "Int4!"',
            ["models.digits.recipe", "'Int4!'", "pattern"],
        ),
        (
            'source = "digits.onnx"',
            'source = "a"\nversion = 0',
            ["models.digits.version", "0", "greater than or equal to 1"],
        ),
        (
            'source = "digits.onnx"',
            'source = "a"\nverison = 2',
            ["models.digits.verison", "unknown key"],
        ),
        (
            '"heldout.npz"',
            '"h.npz"\nmax_drop = 2',
            ["models.digits.quality.max_drop", "2", "less than or equal to 1"],
        ),
        (
            '"heldout.npz"',
            '"h.npz"\nmetric = "auc"',
            ["models.digits.quality.metric", "'auc'", "accuracy, ", "cosine, ", "topK_agreement"],
        ),
        ("[models.digits]", '[models."dig its"]', ["models.dig its"]),
    ],
)
def test_a_refusal_names_file_key_value_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    message = _refusal(tmp_path, MINIMAL.replace(old, new))

    for word in [str(tmp_path / "onnxlift.toml"), *words]:
        assert word in message


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("subnets = []", ["deployment.vpc.subnets", "at least 1 item"]),
        ("security_groups = []", ["deployment.vpc.security_groups", "at least 1 item"]),
        ('subnets = ["vpc-0a1b2c3d"]', ["deployment.vpc.subnets.0", "'vpc-0a1b2c3d'", "^subnet-"]),
        (
            'subnets = ["subnet-0a1b2c3d4"]',
            ["deployment.vpc.subnets.0", "'subnet-0a1b2c3d4'", "{17}"],
        ),
        ('subnets = ["subnet-0A1B2C3D"]', ["deployment.vpc.subnets.0", "[0-9a-f]"]),
        (
            'security_groups = ["sg-0a1b2c3d", "default"]',
            ["deployment.vpc.security_groups.1", "'default'", "^sg-"],
        ),
        (
            'subnets = ["subnet-0a1b2c3d", "subnet-0a1b2c3d"]',
            ["deployment.vpc.subnets", "subnet-0a1b2c3d is there twice"],
        ),
        (
            f"security_groups = {[f'sg-{number:08}' for number in range(6)]}",
            ["deployment.vpc", "at most 5 items"],
        ),
        ('id = "vpc-0a1b2c3d"', ["deployment.vpc.id", "unknown key"]),
    ],
)
def test_a_network_is_named_by_ids_of_subnets_and_security_groups(
    tmp_path: Path, line: str, words: list[str]
) -> None:
    good = {"subnets": '["subnet-0a1b2c3d"]', "security_groups": '["sg-0123456789abcdef0"]'}
    kept = "\n".join(f"{key} = {ids}" for key, ids in good.items() if not line.startswith(key))

    message = _refusal(tmp_path, f"{MINIMAL}[deployment.vpc]\n{kept}\n{line}\n")

    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message


@pytest.mark.parametrize("missing", ["subnets", "security_groups"])
def test_a_network_needs_both(tmp_path: Path, missing: str) -> None:
    lines = ['subnets = ["subnet-0a1b2c3d"]', 'security_groups = ["sg-0a1b2c3d"]']
    kept = "\n".join(line for line in lines if not line.startswith(missing))

    assert f"deployment.vpc.{missing}: missing" in _refusal(
        tmp_path, f"{MINIMAL}[deployment.vpc]\n{kept}\n"
    )


def test_functions_are_in_no_network_of_one_s_own_by_default(tmp_path: Path) -> None:
    assert _load(tmp_path, MINIMAL).deployment.vpc is None


def test_every_mistake_gets_its_own_line(tmp_path: Path) -> None:
    message = _refusal(
        tmp_path, MINIMAL.replace('"demo"', "7").replace('"heldout.npz"', '"h.npz"\nmax_drop = "x"')
    )

    assert len(message.splitlines()) == 2


def test_calibration_and_quality_cannot_share_a_file(tmp_path: Path) -> None:
    message = _refusal(tmp_path, MINIMAL + '[models.digits.calibration]\nsamples = "heldout.npz"\n')

    assert "models.digits" in message
    assert "the gate needs samples of its own" in message


def test_a_missing_file_says_what_to_start_from(tmp_path: Path) -> None:
    with raises(ConfigInvalid, "nowhere.toml"):
        load_config(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("content", ["service = @", "[models\n", "\x00"])
def test_a_file_that_is_no_toml_is_refused_with_its_place(tmp_path: Path, content: str) -> None:
    message = _refusal(tmp_path, content)

    assert "is not TOML" in message
    assert "line 1" in message


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "onnxlift.toml"
    path.write_bytes(b"\xff\xfe\x00")

    with raises(ConfigInvalid, "onnxlift.toml", "UTF-8"):
        load_config(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with raises(ConfigInvalid, "Is a directory"):
        load_config(tmp_path)


@pytest.mark.parametrize("target", sorted(PRESETS))
def test_the_configuration_takes_the_name_of_every_recipe(target: str) -> None:
    pattern = Model.model_json_schema()["properties"]["recipe"]["pattern"]

    assert all(re.fullmatch(pattern, recipe.name) for recipe in recipes(target))


def test_the_configuration_allows_exactly_the_metrics_there_are() -> None:
    assert set(NAMED) == set(METRICS)


def test_the_configuration_knows_every_instruction_set() -> None:
    assert {name for names in INSTRUCTION_SETS.values() for name in names} == {
        item.value for item in InstructionSet
    }


@pytest.mark.parametrize("metric", ["top1_agreement", "top5_agreement", "my.module:score", "f1"])
def test_metrics_may_be_counted_or_the_user_s_own(tmp_path: Path, metric: str) -> None:
    config = _load(tmp_path, MINIMAL + f'metric = "{metric}"\n')

    assert config.models["digits"].quality.metric == metric


def test_an_error_has_a_largest_value_and_no_drop(tmp_path: Path) -> None:
    config = _load(
        tmp_path, MINIMAL + 'also = [{ metric = "max_absolute_error", max_error = 3.5 }]\n'
    )

    assert [limit.allowed_loss for limit in config.models["digits"].quality.limits] == [0.01, 3.5]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('metric = "mean_absolute_error"', "say with max_error how large it may become"),
        ('metric = "cosine"\nmax_error = 1.0', "cosine is better when it is higher"),
        ('also = [{ metric = "top1_agreement" }]', "a metric can have one limit only"),
    ],
)
def test_limits_that_contradict_are_refused(tmp_path: Path, line: str, words: str) -> None:
    assert words in _refusal(tmp_path, MINIMAL + line + "\n")


def test_instruction_sets_are_the_architecture_s_own(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        'source = "digits.onnx"', 'source = "a"\ninstruction_sets = ["arm64-neoverse-n1"]'
    )

    assert "which x86_64 is not; legal: x86_64-avx2, x86_64-avx512-vnni" in _refusal(tmp_path, text)


def test_instruction_sets_between_the_usual_ones_are_asked_for(tmp_path: Path) -> None:
    sets = ("x86_64-avx512", "x86_64-avx-vnni")
    text = MINIMAL.replace(
        'source = "digits.onnx"', f'source = "a"\ninstruction_sets = {json.dumps(sets)}'
    )

    assert _load(tmp_path, MINIMAL).models["digits"].targets == (
        "x86_64-avx2",
        "x86_64-avx512-vnni",
    )
    assert _load(tmp_path, text).models["digits"].targets == sets


def test_the_published_schema_is_the_code_s() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "onnxlift.config"], capture_output=True, text=True, check=True
    ).stdout

    published = (ROOT / "docs/onnxlift.schema.json").read_text()

    assert published == printed, (
        "write it anew: python -m onnxlift.config > docs/onnxlift.schema.json"
    )
    assert json.loads(published)["$schema"].endswith("2020-12/schema")


def test_the_documentation_describes_every_key_and_no_other() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    headings = {
        "": "## The file",
        "models": "## `[models.NAME]`",
        "models.quality.also": "## `[[models.NAME.quality.also]]`",
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


@pytest.mark.parametrize("name", ["half_plus_two", "densenet_onnx", "Model.v1", "7"])
def test_models_are_called_as_other_servers_call_them(tmp_path: Path, name: str) -> None:
    text = MINIMAL.replace("[models.digits", f'[models."{name}"')

    config = _load(tmp_path, text)

    assert list(config.models) == [name]
    assert config.artifact_folder(name) == tmp_path / "artifacts" / name / "1"


@pytest.mark.parametrize("pair", [("Model", "model"), ("a_b", resource_name("a_b"))])
def test_models_that_cannot_be_told_apart_are_refused(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    first, second = (
        MINIMAL.partition("[models.digits]")[2].replace("digits.quality", f'"{name}".quality')
        for name in pair
    )
    start = MINIMAL.partition("[models.digits]")[0]
    text = f'{start}[models."{pair[0]}"]{first}\n[models."{pair[1]}"]{second}'

    message = _refusal(tmp_path, text)

    assert all(repr(name) in message for name in pair)


def test_a_batch_is_none_or_an_axis_of_each_input(tmp_path: Path) -> None:
    axes = 'batch_axis = {input = 0, state = 1, sr = "none"}'

    model = _load(tmp_path, MINIMAL.replace("[models.digits]", f"[models.digits]\n{axes}")).models[
        "digits"
    ]

    assert model.batch_axis == {"input": 0, "state": 1, "sr": "none"}
    both = MINIMAL.replace("[models.digits]", f'[models.digits]\nbatch = "none"\n{axes}')
    assert "batch_axis" in _refusal(tmp_path, both)
