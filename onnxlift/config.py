"""``onnxlift.toml``: the one file a user edits, read into frozen, checked values.

``python -m onnxlift.config`` prints its JSON Schema, which docs/onnxlift.schema.json holds for
editors.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator

from onnxlift.hosting import Api, Deployment, Gpu, Jobs, Placement, Table
from onnxlift.quality import ERROR_METRICS, METRICS, Limit, Metric, Quality
from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.names import resource_name

__all__ = [
    "CONFIG_NAME",
    "ERROR_METRICS",
    "INSTRUCTION_SETS",
    "METRICS",
    "Architecture",
    "Calibration",
    "Config",
    "InstructionSetName",
    "Limit",
    "Metric",
    "Model",
    "Padding",
    "Quality",
    "json_schema",
    "load_config",
]

CONFIG_NAME: Final = "onnxlift.toml"

Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
# As Triton and TensorFlow Serving have them: whatever stands in a URL and a folder as it is.
ModelName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Label: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
RecipeName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")]
Architecture: TypeAlias = Literal["x86_64", "arm64"]
InstructionSetName: TypeAlias = Literal[
    "x86_64-avx2", "x86_64-avx512-vnni", "x86_64-avx512", "x86_64-avx-vnni", "arm64-neoverse-n1"
]
INSTRUCTION_SETS: Final[dict[str, tuple[InstructionSetName, ...]]] = {
    "x86_64": ("x86_64-avx2", "x86_64-avx512-vnni", "x86_64-avx512", "x86_64-avx-vnni"),
    "arm64": ("arm64-neoverse-n1",),
}
# The others are simulated on a CPU that has more; a configuration asks for them by name.
DEFAULT_INSTRUCTION_SETS: Final[dict[str, tuple[InstructionSetName, ...]]] = {
    "x86_64": ("x86_64-avx2", "x86_64-avx512-vnni"),
    "arm64": ("arm64-neoverse-n1",),
}


class Calibration(Table):
    """Samples that recipes may look at; never the ones that judge."""

    samples: Path = Field(
        description="A .npz file with one array per input of the model, samples first."
    )
    count: Annotated[int, Field(ge=1, le=10_000)] = Field(
        256, description="How many samples to use at most."
    )


class Padding(Table):
    """What makes inputs of unequal lengths equally long, where the model does not look at it."""

    axis: Annotated[int, Field(ge=1, le=15)] = Field(
        1, description="The dimension that is the length, 0 is the batch."
    )
    inputs: dict[str, FiniteFloat] = Field(
        min_length=1, description="Each input that has the length, and the number that fills it up."
    )
    outputs: tuple[str, ...] = Field(
        (), description="The outputs that have the length too, and are cut back to it."
    )


class Model(Table):
    """One model: the file it starts as, and what may be done to it."""

    source: Path = Field(description="The fp32 ONNX file.")
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1
    recipe: RecipeName = Field("auto", description="auto searches; or the name of one recipe.")
    optimize_for: Literal["size", "latency", "cost"] = Field(
        "size",
        description="Keep the smallest, the fastest or the cheapest on Lambda that passes the "
        "quality gate.",
    )
    max_slowdown: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="How many times as long as fp32's a request may take where the smallest is "
        "kept; by default 1.5, and 0.95 for a source below 1 MB, which is small enough.",
    )
    search_budget_s: Annotated[float, Field(gt=0)] = Field(
        600, description="Seconds that a search may take."
    )
    architecture: Architecture = "x86_64"
    instruction_sets: tuple[InstructionSetName, ...] = Field(
        (),
        description="Where the quality gate runs; by default x86_64-avx2 and "
        "x86_64-avx512-vnni, or arm64-neoverse-n1.",
    )
    version_labels: tuple[Label, ...] = Field(
        (), description="TensorFlow Serving labels for this version."
    )
    classes: Path | tuple[str, ...] = Field(
        (), description="Class names, or a text file with one on each line."
    )
    batch: Literal["auto", "none"] = Field(
        "auto",
        description="none: a request is one inference as it stands, never joined with another. "
        "auto finds the batch in the model.",
    )
    batch_axis: dict[str, Annotated[int, Field(ge=0, le=15)] | Literal["none"]] = Field(
        {},
        description="The dimension of each input that counts the rows of a request, or none; "
        "outputs may be named too.",
    )
    calibration: Calibration | None = None
    padding: Padding | None = None
    quality: Quality = Quality()
    placement: Placement = Placement()

    @property
    def preset(self) -> Literal["x86_64", "arm64", "gpu"]:
        """Whose recipes are tried: the GPU's where the model is placed there for certain, else the
        architecture's.
        """
        return "gpu" if self.placement.tier == "gpu" else self.architecture

    @property
    def targets(self) -> tuple[InstructionSetName, ...]:
        """The instruction sets on which the quality gate runs; none has to be those of a CPU that
        only feeds a GPU.
        """
        ours = () if self.preset == "gpu" else DEFAULT_INSTRUCTION_SETS[self.architecture]
        return self.instruction_sets or ours

    @model_validator(mode="after")
    def _of_the_architecture(self) -> "Model":
        ours = INSTRUCTION_SETS[self.architecture]
        foreign = [name for name in self.instruction_sets if name not in ours]
        if foreign:
            legal = ", ".join(ours)
            raise ValueError(
                f"instruction_sets has {foreign[0]}, which {self.architecture} is not; legal: "
                f"{legal}"
            )
        return self

    @model_validator(mode="after")
    def _one_batch(self) -> "Model":
        if self.batch == "none" and self.batch_axis:
            raise ValueError('batch = "none" contradicts batch_axis; write one of them')
        return self

    @model_validator(mode="after")
    def _disjoint(self) -> "Model":
        if self.calibration and self.calibration.samples == self.quality.samples:
            raise ValueError(
                "calibration.samples and quality.samples are the same file; the gate needs samples "
                "of its own"
            )
        return self


class Config(Table):
    """The whole file."""

    service: Name = Field(
        description="Prefix of every stack and function; a service is deployed once per region."
    )
    artifacts: Path = Field(Path("artifacts"), description="Where compressed models are written.")
    cache: Path = Field(
        Path(".onnxlift"), description="Where a search keeps what it tried, so that it can go on."
    )
    models: dict[ModelName, Model] = Field(min_length=1)
    deployment: Deployment = Deployment()
    api: Api = Api()
    jobs: Jobs = Jobs()
    gpu: Gpu = Gpu()

    @model_validator(mode="after")
    def _told_apart(self) -> "Config":
        """File systems may ignore case, and resource names always do."""
        seen: dict[str, str] = {}
        for name in self.models:
            for form in {name.lower(), resource_name(name)}:
                if seen.setdefault(form, name) != name:
                    raise ValueError(
                        f"models {seen[form]!r} and {name!r} get the same name in AWS or in "
                        f"file systems; rename one"
                    )
        return self

    def artifact_folder(self, model: str) -> Path:
        """The folder of the configured version of ``model``."""
        return self.artifacts / model / str(self.models[model].version)


def load_config(path: Path) -> Config:
    """Read ``path``; relative paths in it start at its folder.

    Raises ``ConfigInvalid`` with file, key, value and what is allowed, one line for each thing
    wrong.
    """
    try:
        # Editors on Windows write a byte order mark.
        data = tomllib.loads(path.read_text("utf-8-sig"))
        config = Config.model_validate(data)
    except FileNotFoundError as error:
        raise ConfigInvalid(
            f"{path} does not exist; start from the one in onnxlift's repository"
        ) from error
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{path} is not UTF-8 text, which TOML is: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        raise ConfigInvalid("\n".join(_explain(path, item) for item in _mistakes(error))) from error
    anchored: Config = _anchored(config, path.resolve().parent)
    return anchored


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``onnxlift.toml`` for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _mistakes(error: ValidationError) -> list[Any]:
    """What is wrong, once: a list of which an entry is refused counts as too short as well."""
    items = error.errors()
    refused = {item["loc"][:-1] for item in items}
    return [item for item in items if item["type"] != "too_short" or item["loc"] not in refused]


def _explain(path: Path, item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{path}: {key}: unknown key; docs/configuration.md lists the known ones"
    if item["type"] == "missing":
        return f"{path}: {key}: missing"
    message = item["msg"].removeprefix("Value error, ")
    # Keys that contradict each other: the value is their whole table.
    if item["type"] == "value_error" and isinstance(item["input"], dict):
        return f"{path}: {key}: {message}"
    return f"{path}: {key}: {item['input']!r} is not allowed: {message}"


def _anchored(value: Any, folder: Path) -> Any:
    """Copy frozen tables with every relative path made absolute from ``folder``."""
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, dict):
        return {key: _anchored(item, folder) for key, item in value.items()}
    if isinstance(value, BaseModel):
        changes = {
            name: _anchored(getattr(value, name), folder) for name in type(value).model_fields
        }
        return value.model_copy(update=changes)
    return value


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
