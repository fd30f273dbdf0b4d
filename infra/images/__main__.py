"""Build every image of the service that onnxlift.toml describes; ``make images`` calls it."""

import sys
from pathlib import Path
from typing import Final

from infra.images.bases import is_stand_in
from infra.images.build import ImageRecipe, build_image
from infra.images.engine import ContainerEngine, find_engine
from infra.images.recipes import model_recipe, worker_recipe
from infra.models import read_models
from onnxlift.config import CONFIG_NAME, load_config
from onnxlift_runtime.errors import ConfigInvalid, OnnxliftError

ROOT: Final = Path(__file__).resolve().parents[2]
MB: Final = 1_000_000


def main() -> int:
    """Build and list the images; an error is one line on stderr and status 1, or 2 for configuration."""
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
    images = [model_recipe(ROOT, config.service, [model]) for model in models]
    return [*images, worker_recipe(ROOT, config.service)], missing


def _say(engine: ContainerEngine, tag: str) -> None:
    size_bytes = int(engine.run("image", "inspect", "--format", "{{.Size}}", tag))
    warning = "  (for tests alone: its base is a stand-in)" if is_stand_in(engine, tag) else ""
    print(f"{tag}  {size_bytes / MB:.0f} MB{warning}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
