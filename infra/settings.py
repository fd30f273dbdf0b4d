"""What the functions are told through their environment."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePath

from infra.constructs.permissions import bucket_name, topic_arn
from infra.models import DeployedModel
from onnxlift.config import Config
from onnxlift.placement import tell_tiers
from onnxlift_runtime import names
from onnxlift_runtime.settings import Settings


def function_settings(
    config: Config, models: Iterable[DeployedModel], models_dir: PurePath | None = None
) -> Settings:
    """The service's own, with what leads to its jobs; ``models_dir`` where it is not the image's.

    Of the models, those are told that have GPU workers.
    """
    service = config.service
    placements = {model.name: model.placement for model in models if model.on_gpu}
    settings = Settings(
        service=service,
        api_key_required=config.api.api_key_required,
        metrics=True,
        jobs_table=names.table_name(service),
        data_bucket=bucket_name(service),
        event_bus=names.bus_name(service),
        topic=topic_arn(service) if config.jobs.topic else "",
        webhook_secret=names.webhook_secret_name(service),
        batch_workers=config.jobs.concurrency,
        job_timeout_s=config.jobs.timeout_s,
        tiers=tell_tiers(placements),
        keep_days=config.jobs.keep_days,
        gpu_cluster=names.gpu_cluster_name(service)
        if placements and config.gpu.backend == "ecs"
        else "",
    )
    return replace(settings, models_dir=Path(models_dir)) if models_dir else settings
