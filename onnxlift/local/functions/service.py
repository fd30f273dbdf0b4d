"""The deployed functions, set up in this process as the CDK app sets them up in AWS."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from onnxlift.artifact import gpu_placements, read_tiers
from onnxlift.config import Config
from onnxlift.local.account import ACCOUNT, REGION
from onnxlift.local.functions.inventory import Inventory, take_inventory
from onnxlift.local.functions.wiring import API_FUNCTIONS, Wiring, load_handlers
from onnxlift.local.moto.cloud import Cloud
from onnxlift.placement import tell_tiers
from onnxlift_runtime import names
from onnxlift_runtime.names import LAMBDA
from onnxlift_runtime.settings import Settings


@contextlib.contextmanager
def open_service(
    config: Config, cloud: Cloud, *, threads: int = 0, workers: int = 1
) -> Iterator[tuple[Wiring, Inventory]]:
    """Hand the settings over through the environment, open every model, and tell what is served.

    As in AWS, the functions see the configured models alone. Raises ``ConfigInvalid`` where the
    functions are not there, and ``ArtifactCorrupt`` where a manifest is broken.
    """
    with tempfile.TemporaryDirectory(prefix="onnxlift-") as folder:
        models_dir = _link_models(config, Path(folder))
        told = settings(config, models_dir, threads=threads, workers=workers).to_env()
        _replace_environment(cloud.environment(os.environ) | told)
        handlers = load_handlers(API_FUNCTIONS)
        from handlers.predict import engine  # only after `load_handlers` said that there is one

        opened, tiers = engine(), read_tiers(config)
        with_function = frozenset(
            name for name in opened.catalog.models if LAMBDA in tiers.get(name, (LAMBDA,))
        )
        yield Wiring(handlers, with_function), take_inventory(config, models_dir, opened.failures)


def settings(config: Config, models_dir: Path, *, threads: int, workers: int) -> Settings:
    """What the functions are told; the gateway writes the access log here, so theirs is kept to
    what goes wrong.

    A webhook may go to this machine, where else would a developer receive it.
    """
    service = config.service
    return Settings(
        service=service,
        models_dir=models_dir,
        threads=threads,
        log_level="WARNING",
        jobs_table=names.table_name(service),
        data_bucket=names.bucket_name(service, ACCOUNT, REGION),
        event_bus=names.bus_name(service),
        webhook_secret=names.webhook_secret_name(service),
        private_webhooks=True,
        batch_workers=workers,
        job_timeout_s=config.jobs.timeout_s,
        tiers=tell_tiers(gpu_placements(config)),
    )


def _replace_environment(environ: Mapping[str, str]) -> None:
    """Leave nothing that could lead a function to a real account."""
    for name in set(os.environ) - set(environ):
        del os.environ[name]
    os.environ.update(environ)


def _link_models(config: Config, folder: Path) -> Path:
    """A folder with a link to each configured model's artifacts, as the images hold them."""
    for name in config.models:
        if (config.artifacts / name).is_dir():
            (folder / name).symlink_to(config.artifacts / name, target_is_directory=True)
    return folder
