"""Build every image of the service that onnxlift.toml describes; ``make images`` calls it."""

import sys
from pathlib import Path
from typing import Final

from infra.images.bases import is_stand_in
from infra.images.build import ImageRecipe, build_image
from infra.images.contents import artifact_bytes, list_files, package_sizes
from infra.images.engine import ContainerEngine, find_engine
from infra.images.recipes import model_recipe, worker_recipe
from infra.models import read_models
from onnxlift.config import CONFIG_NAME, load_config
from onnxlift_runtime.errors import ConfigInvalid, OnnxliftError

ROOT: Final = Path(__file__).resolve().parents[2]
MB: Final = 1_000_000


def main() -> int:
    """Build and list the images; an error is one line on stderr and status 1, or 2 for
    configuration.
    """
    try:
        recipes, missing = _recipes()
        engine = find_engine(ROOT / ".onnxlift")
        for recipe in recipes:
            _say(engine, build_image(engine, recipe))
    except OnnxliftError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, ConfigInvalid) else 1
    for what_to_do in missing.values():
        print(f"left out: {what_to_do}")  # noqa: T201
    return 0


def _recipes() -> tuple[list[ImageRecipe], dict[str, str]]:
    config = load_config(ROOT / CONFIG_NAME)
    models, missing = read_models(config)
    images = [model_recipe(ROOT, config.service, [model]) for model in models if model.on_lambda]
    return [*images, worker_recipe(ROOT, config.service)], missing


def _say(engine: ContainerEngine, tag: str) -> None:
    """The size of an image, uncompressed, with what is in it."""
    files = list_files(engine, tag)
    packages = package_sizes(files)
    total, models = sum(files.values()), artifact_bytes(files)
    warning = "; for tests alone: its base is a stand-in" if is_stand_in(engine, tag) else ""
    print(f"{tag}  {total / MB:.1f} MB, {models / MB:.1f} MB of it models{warning}")  # noqa: T201
    for name, size in packages.items():
        print(f"  {size / MB:7.2f} MB  {name}")  # noqa: T201
    print(f"  {(total - models - sum(packages.values())) / MB:7.2f} MB  the base and the functions")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
