"""The deployed functions, set up in this process as the CDK app sets them up in AWS."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from onnxlift.config import Config
from onnxlift.local.inventory import Inventory, take_inventory
from onnxlift.local.wiring import Wiring, load_handlers
from onnxlift_runtime.settings import Settings


@contextlib.contextmanager
def open_service(config: Config, *, threads: int = 0) -> Iterator[tuple[Wiring, Inventory]]:
    """Hand the settings over through the environment, open every model, and tell what is served.

    As in AWS, the functions see the configured models alone. Raises ``ConfigInvalid`` where the functions are not
    there, and ``ArtifactCorrupt`` where a manifest is broken.
    """
    with tempfile.TemporaryDirectory(prefix="onnxlift-") as folder:
        models_dir = _link_models(config, Path(folder))
        os.environ.update(settings(config, models_dir, threads).to_env())
        handlers = load_handlers()
        from handlers.predict import engine  # only after `load_handlers` said that there is one

        opened = engine()
        yield Wiring(handlers, frozenset(opened.catalog.models)), take_inventory(config, models_dir, opened.failures)


def settings(config: Config, models_dir: Path, threads: int) -> Settings:
    """What the functions are told; the gateway writes the access log here, so theirs is kept to what goes wrong."""
    return Settings(service=config.service, models_dir=models_dir, threads=threads, log_level="WARNING")


def _link_models(config: Config, folder: Path) -> Path:
    """A folder with a link to each configured model's artifacts, as the images hold them."""
    for name in config.models:
        if (config.artifacts / name).is_dir():
            (folder / name).symlink_to(config.artifacts / name, target_is_directory=True)
    return folder
