"""What the functions are told through their environment."""

from dataclasses import replace
from pathlib import Path, PurePath

from infra.constructs.permissions import bucket_name, topic_arn
from onnxlift.config import Config
from onnxlift_runtime import layout
from onnxlift_runtime.settings import Settings


def function_settings(config: Config, models_dir: PurePath | None = None) -> Settings:
    """The service's own, with what leads to its jobs; ``models_dir`` where it is not the image's."""
    service = config.service
    settings = Settings(
        service=service,
        api_key_required=config.api.api_key_required,
        jobs_table=layout.table_name(service),
        data_bucket=bucket_name(service),
        event_bus=layout.bus_name(service),
        topic=topic_arn(service) if config.jobs.topic else "",
        webhook_secret=layout.webhook_secret_name(service),
        batch_workers=config.jobs.concurrency,
    )
    return replace(settings, models_dir=Path(models_dir)) if models_dir else settings
