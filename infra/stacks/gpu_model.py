"""One model on a GPU."""

from pathlib import Path
from typing import Any, Final

from aws_cdk import NestedStack
from constructs import Construct

from infra.constructs.alarms import Alarms
from infra.constructs.functions.accelerator import AcceleratedFunction
from infra.constructs.gpu.capacity import Market, provider_name
from infra.constructs.gpu.fleet import Fleet
from infra.constructs.gpu.model_files import Weights
from infra.constructs.gpu.worker import SCRATCH, WorkerTask
from infra.constructs.permissions import Permissions
from infra.constructs.queue import FeedingQueue
from infra.models import DeployedModel
from infra.settings import function_settings
from onnxlift.config import Config
from onnxlift.scaling import rules, standby_rules
from onnxlift.topology import gpu_source
from onnxlift_runtime import names
from onnxlift_runtime.settings import WorkerSettings

CACHE: Final = f"{SCRATCH}/models"


class GpuModelStack(NestedStack):
    """The queue of a model's jobs for the GPU, and who works on it.

    ``context`` is the folder that the image is built from; ``scratch`` holds the index of the
    model's files, and must live until synthesis.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        config: Config,
        model: DeployedModel,
        context: str,
        scratch: Path,
    ) -> None:
        super().__init__(
            scope, id, description=f"onnxlift: model {model.name} of {config.service} on a GPU"
        )
        self._config, self._model, self._context = config, model, context
        self._source = gpu_source(config, model.name)
        self._permissions = Permissions(self, config)
        queue = FeedingQueue(self, "Jobs", source=self._source)
        self._alarms = Alarms(self, "Alarms", config=config)
        self._alarms.watch_queue("Jobs", self._source)
        if config.gpu.backend == "lambda":
            queue.feed(self._add_function().alias)
        else:
            task = self._add_task(scratch)
            self._add_fleets(task, queue)

    def _add_function(self) -> AcceleratedFunction:
        function = AcceleratedFunction(
            self,
            "Worker",
            model=self._model,
            context=self._context,
            settings=function_settings(self._config, [self._model]),
            timeout_s=self._source.timeout_s,
            max_tasks=self._config.gpu.max_tasks,
            retention_days=self._config.api.log_retention_days,
        )
        function.allow(*self._permissions.working(self._source.queue))
        self._alarms.watch_function("Worker", function.function)
        return function

    def _add_task(self, scratch: Path) -> WorkerTask:
        weights = Weights(self, "Weights", model=self._model, scratch=scratch)
        task = WorkerTask(
            self,
            "Worker",
            gpu=self._config.gpu,
            context=self._context,
            settings=function_settings(self._config, [self._model], Path(CACHE)),
            worker=worker_settings(self._config, self._model.name, weights.url),
            memory_mb=self._model.memory_mb,
            retention_days=self._config.api.log_retention_days,
        )
        task.allow(
            *self._permissions.working(self._source.queue),
            self._permissions.protection(),
            weights.reading(),
        )
        return task

    def _add_fleets(self, task: WorkerTask, queue: FeedingQueue) -> None:
        """The model's workers; and, where they are on spot machines, one that stands in while there
        are none.
        """
        gpu, name = (
            self._config.gpu,
            names.gpu_service_name(self._config.service, self._model.name),
        )
        common: dict[str, Any] = {
            "cluster": names.gpu_cluster_name(self._config.service),
            "definition": task.definition,
            "queue": self._source.queue,
        }
        main = Fleet(
            self,
            "Fleet",
            name=name,
            provider=self._provider("spot" if gpu.spot else "on-demand"),
            max_tasks=gpu.max_tasks,
            rules=rules(gpu),
            **common,
        )
        main.node.add_dependency(queue)
        if gpu.spot:
            provider, followed = self._provider("on-demand"), standby_rules(gpu)
            standby = Fleet(
                self,
                "Standby",
                name=f"{name}-standby",
                provider=provider,
                max_tasks=1,
                rules=followed,
                desired=0,
                **common,
            )
            standby.node.add_dependency(queue)

    def _provider(self, market: Market) -> str:
        return provider_name(self._config.service, self._config.gpu, market)


def worker_settings(config: Config, model: str, weights: str) -> WorkerSettings:
    """What the workers of a model are told beyond what every function is."""
    gpu = config.gpu
    return WorkerSettings(
        serve=model,
        weights=weights,
        max_batch_size=gpu.max_batch_size,
        max_wait_ms=gpu.max_wait_ms,
        timeout_s=gpu.timeout_s,
        allow_cpu=gpu.allow_cpu,
    )
