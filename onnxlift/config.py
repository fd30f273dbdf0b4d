"""``onnxlift.toml``: the one file a user edits, read into frozen, checked values.

``python -m onnxlift.config`` prints its JSON Schema, which docs/onnxlift.schema.json holds for editors.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from onnxlift_runtime.errors import ConfigInvalid

CONFIG_NAME: Final = "onnxlift.toml"

Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Label: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
RecipeName: TypeAlias = Literal[
    "auto", "fp32", "int8-dynamic", "int8-static", "int8-static-entropy", "int8-static-percentile"
]
Metric: TypeAlias = Literal["accuracy", "top1_agreement", "cosine"]
Architecture: TypeAlias = Literal["x86_64", "arm64"]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Calibration(_Table):
    """Samples that recipes may look at; never the ones that judge."""

    samples: Path = Field(description="A .npz file with one array per input of the model, samples first.")
    count: Annotated[int, Field(ge=1, le=10_000)] = Field(256, description="How many samples to use at most.")


class Quality(_Table):
    """The quality gate: what is measured on which held-out samples, and how much of it may be lost."""

    samples: Path = Field(description="A .npz file with one array per input, and the labels for `accuracy`.")
    labels: str = Field("labels", description="The array in `samples` that holds the true class of each sample.")
    metric: Metric = Field(
        "top1_agreement",
        description="accuracy: share of right classes. top1_agreement: share of samples whose class is the fp32 "
        "model's. cosine: mean cosine similarity with the fp32 model's first output.",
    )
    max_drop: Annotated[float, Field(ge=0, le=1)] = Field(0.01, description="The largest loss of the metric allowed.")


class Placement(_Table):
    """Where the model must run, for users who know better than the measurements."""

    tier: Literal["auto", "lambda", "gpu"] = "auto"
    memory_mb: Annotated[int, Field(ge=128, le=10_240)] | None = Field(
        None, description="Lambda's memory; measured when absent."
    )


class Model(_Table):
    """One model: the file it starts as, and what may be done to it."""

    source: Path = Field(description="The fp32 ONNX file.")
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1
    recipe: RecipeName = Field("auto", description="auto tries every recipe and keeps the smallest that passes.")
    architecture: Architecture = "x86_64"
    version_labels: tuple[Label, ...] = Field((), description="TensorFlow Serving labels for this version.")
    classes: Path | tuple[str, ...] = Field((), description="Class names, or a text file with one on each line.")
    calibration: Calibration | None = None
    quality: Quality
    placement: Placement = Placement()

    @model_validator(mode="after")
    def _disjoint(self) -> "Model":
        if self.calibration is not None and self.calibration.samples == self.quality.samples:
            raise ValueError(
                "calibration.samples and quality.samples are the same file; the gate needs samples of its own"
            )
        return self


class Throttle(_Table):
    """API Gateway's bounds for all callers together."""

    rate: Annotated[int, Field(ge=1, le=10_000)] = Field(100, description="Requests per second.")
    burst: Annotated[int, Field(ge=1, le=5_000)] = 200


class Api(_Table):
    """The public API."""

    stage: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,128}$")] = "live"
    throttle: Throttle = Throttle()
    api_key_required: bool = Field(False, description="Every call then needs the header x-api-key.")
    log_retention_days: Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365] = 30


class Jobs(_Table):
    """How jobs are worked on: what arrives by queue, by bucket, or is not waited for."""

    timeout_s: Annotated[int, Field(ge=1, le=900)] = Field(
        300, description="Seconds after which a job's worker is stopped, and the job is tried again."
    )
    batch_size: Annotated[int, Field(ge=1, le=10)] = Field(
        1, description="Jobs handed to a worker at once; those that fit together run as one inference."
    )
    concurrency: Annotated[int, Field(ge=2, le=1_000)] = Field(10, description="Workers of one model at once.")
    keep_days: Annotated[int, Field(ge=1, le=365)] = Field(
        14, description="Days after which payloads and results above 64 KB are deleted."
    )


class Config(_Table):
    """The whole file."""

    service: Name = Field(description="Prefix of every stack and function; a service is deployed once per region.")
    artifacts: Path = Field(Path("artifacts"), description="Where compressed models are written.")
    models: dict[Name, Model] = Field(min_length=1)
    api: Api = Api()
    jobs: Jobs = Jobs()

    def artifact_folder(self, model: str) -> Path:
        """The folder of the configured version of ``model``."""
        return self.artifacts / model / str(self.models[model].version)


def load_config(path: Path) -> Config:
    """Read ``path``; relative paths in it start at its folder.

    Raises ``ConfigInvalid`` with file, key, value and what is allowed, one line for each thing wrong.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
        config = Config.model_validate(data)
    except FileNotFoundError as error:
        raise ConfigInvalid(f"{path} does not exist; start from the one in onnxlift's repository") from error
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{path} is not UTF-8 text, which TOML is: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        raise ConfigInvalid("\n".join(_explain(path, item) for item in error.errors())) from error
    anchored: Config = _anchored(config, path.resolve().parent)
    return anchored


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``onnxlift.toml`` for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def _explain(path: Path, item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{path}: {key}: unknown key; docs/configuration.md lists the known ones"
    if item["type"] == "missing":
        return f"{path}: {key}: missing"
    message = item["msg"].removeprefix("Value error, ")
    return f"{path}: {key}: {item['input']!r} is not allowed: {message}"


def _anchored(value: Any, folder: Path) -> Any:
    """Copy frozen tables with every relative path made absolute from ``folder``."""
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, dict):
        return {key: _anchored(item, folder) for key, item in value.items()}
    if isinstance(value, BaseModel):
        changes = {name: _anchored(getattr(value, name), folder) for name in type(value).model_fields}
        return value.model_copy(update=changes)
    return value


if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
