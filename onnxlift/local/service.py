"""The deployed functions, set up in this process as the CDK app sets them up in AWS."""

import os
from collections.abc import Mapping

from onnxlift.config import Config
from onnxlift.local.inventory import Inventory, take_inventory
from onnxlift.local.wiring import Handler, load_handlers
from onnxlift_runtime.settings import Settings


def open_service(config: Config, *, threads: int = 0) -> tuple[Mapping[str, Handler], Inventory]:
    """Hand the settings over through the environment, open every model, and tell what is served.

    Raises ``ConfigInvalid`` where the functions are not there and ``ArtifactCorrupt`` where a manifest is broken.
    """
    os.environ.update(settings(config, threads).to_env())
    handlers = load_handlers()
    from handlers.predict import engine  # only after `load_handlers` said that there is one

    return handlers, take_inventory(config, engine().failures)


def settings(config: Config, threads: int) -> Settings:
    """What the functions are told; the gateway writes the access log here, so theirs is kept to what goes wrong."""
    return Settings(service=config.service, models_dir=config.artifacts, threads=threads, log_level="WARNING")
