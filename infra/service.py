"""The whole service from one configuration file: its data, a stack for each model, jobs and the API in front."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import aws_cdk as cdk

from infra.assets import (
    accelerated_files,
    image_files,
    layer_files,
    library_files,
    link_files,
    worker_files,
    zip_files,
)
from infra.destination import find_destination
from infra.models import DeployedModel, read_models
from infra.stacks.api import ApiStack
from infra.stacks.data import DataStack
from infra.stacks.gpu import GpuStack
from infra.stacks.gpu_model import GpuModelStack
from infra.stacks.jobs import JobsStack
from infra.stacks.model import ModelStack
from onnxlift.config import CONFIG_NAME, Config, load_config

TAG: Final = "onnxlift:service"
ZIPS: Final = ("control", "ingest", "notify", "escalate")


def synthesise(root: Path, environ: Mapping[str, str]) -> None:
    """Write the cloud assembly of the service in ``root``, or of the file that the context value ``config`` names.

    Raises ``ConfigInvalid``, ``PlacementImpossible`` and ``ArtifactCorrupt``.
    """
    app = cdk.App(analytics_reporting=False)
    named = app.node.try_get_context("config")
    config = load_config(Path(named) if named else root / CONFIG_NAME)
    with tempfile.TemporaryDirectory() as folder:
        compose(app, config, root, Path(folder), find_destination(config, environ))
        app.synth()


def compose(scope: cdk.App | cdk.Stage, config: Config, root: Path, scratch: Path, env: cdk.Environment) -> None:
    """Add the service's stacks to ``scope``; assets are laid out below ``scratch``, which must live until synthesis."""
    models, missing = read_models(config)
    prefix, layer = config.service, link_files({**layer_files(root), **library_files()}, scratch / "layer")
    data = DataStack(scope, f"{prefix}-data", config=config, missing=missing, env=env)
    stacks: list[cdk.Stack] = [
        ModelStack(
            scope,
            f"{prefix}-model-{model.name}",
            config=config,
            model=model,
            context=link_files(image_files(root, model), scratch / "images" / model.name),
            env=env,
        )
        for model in models
        if model.on_lambda
    ]
    stacks += _add_gpu(scope, config, [model for model in models if model.on_gpu], root, scratch, env)
    code = {name: link_files(zip_files(root, name, models), scratch / name) for name in ZIPS}
    jobs = JobsStack(scope, f"{prefix}-jobs", config=config, models=models, code=code, layer=layer, env=env)
    api = ApiStack(
        scope,
        f"{prefix}-api",
        config=config,
        models=models,
        missing=missing,
        code=code["control"],
        layer=layer,
        env=env,
    )
    for stack in stacks:
        stack.add_stack_dependency(data, "its functions start with the table and the bucket there")
        for later in (jobs, api):
            later.add_stack_dependency(stack, "the functions and queues of a model are used only once they are there")
    jobs.add_stack_dependency(data, "what is dropped into the bucket comes here")
    api.add_stack_dependency(jobs, "the API answers once everything behind it is there")
    cdk.Tags.of(scope).add(TAG, config.service)
    for stack in (data, *stacks, jobs, api):
        stack.tags.set_tag(TAG, config.service)  # of the stack itself, which the line above leaves out


def _add_gpu(
    scope: cdk.App | cdk.Stage,
    config: Config,
    models: Sequence[DeployedModel],
    root: Path,
    scratch: Path,
    env: cdk.Environment,
) -> list[cdk.Stack]:
    """A stack for each of these models on a GPU, behind the one that they share; none where there are none."""
    if not models:
        return []
    shared = GpuStack(scope, f"{config.service}-gpu", config=config, models=models, env=env)
    on_ecs = config.gpu.backend == "ecs"
    worker = link_files(worker_files(root), scratch / "worker") if on_ecs else ""
    stacks: list[cdk.Stack] = []
    for model in models:
        own = "" if on_ecs else link_files(accelerated_files(root, model), scratch / "accelerated" / model.name)
        stack = GpuModelStack(
            scope,
            f"{config.service}-gpu-{model.name}",
            config=config,
            model=model,
            context=worker or own,
            scratch=scratch / "weights" / model.name,
            env=env,
        )
        stack.add_stack_dependency(shared, "its workers run on the machines there")
        stacks.append(stack)
    return [shared, *stacks]
