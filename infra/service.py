"""The whole service from one configuration file: its data, a stack for each model, jobs and the API
in front.
"""

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
from infra.stacks.data import DataStack, data_stack_name
from infra.stacks.gpu import GpuStack
from infra.stacks.gpu_model import GpuModelStack
from infra.stacks.jobs import JobsStack
from infra.stacks.model import ModelStack
from onnxlift.config import CONFIG_NAME, Config, load_config

TAG: Final = "onnxlift:service"
ZIPS: Final = ("control", "ingest", "notify", "escalate")


def synthesise(root: Path, environ: Mapping[str, str]) -> None:
    """Write the cloud assembly of the service in ``root``, or of the file that the context value
    ``config`` names.

    Raises ``ConfigInvalid``, ``PlacementImpossible`` and ``ArtifactCorrupt``.
    """
    app = cdk.App(analytics_reporting=False)
    named = app.node.try_get_context("config")
    config = load_config(Path(named) if named else root / CONFIG_NAME)
    with tempfile.TemporaryDirectory() as folder:
        compose(app, config, root, Path(folder), find_destination(config, environ))
        app.synth()


def compose(
    scope: cdk.App | cdk.Stage, config: Config, root: Path, scratch: Path, env: cdk.Environment
) -> None:
    """Add the service's stacks to ``scope``; assets are laid out below ``scratch``, which must live
    until synthesis.

    What holds data is a stack of its own. All else is nested in another, so that what leaves the
    configuration leaves the account with the same deployment, after everything that used it was
    changed.
    """
    models, missing = read_models(config)
    data = DataStack(
        scope, data_stack_name(config.service), config=config, missing=missing, env=env
    )
    whole = cdk.Stack(
        scope, config.service, description=f"onnxlift: service {config.service}", env=env
    )
    whole.add_stack_dependency(data, "functions start with the table and the bucket there")
    behind = [
        *_add_models(whole, config, models, root, scratch),
        *_add_gpu(whole, config, models, root, scratch),
    ]
    layer = link_files({**layer_files(root), **library_files()}, scratch / "layer")
    code = {name: link_files(zip_files(root, name, models), scratch / name) for name in ZIPS}
    jobs = JobsStack(whole, "jobs", config=config, models=models, code=code, layer=layer)
    api = ApiStack(
        whole,
        "api",
        config=config,
        models=models,
        missing=missing,
        code=code["control"],
        layer=layer,
    )
    for stack in behind:
        _after(
            jobs, stack
        )  # its functions and queues are used, by their names, only once they are there
    _after(api, jobs)
    cdk.Tags.of(scope).add(TAG, config.service)
    for deployed in (data, whole):
        deployed.tags.set_tag(
            TAG, config.service
        )  # of the stack itself, which the line above leaves out


def _add_models(
    whole: cdk.Stack, config: Config, models: Sequence[DeployedModel], root: Path, scratch: Path
) -> list[cdk.NestedStack]:
    """A stack for each model on Lambda."""
    return [
        ModelStack(
            whole,
            f"model-{model.resource}",
            config=config,
            model=model,
            context=link_files(image_files(root, model), scratch / "images" / model.name),
        )
        for model in models
        if model.on_lambda
    ]


def _add_gpu(
    whole: cdk.Stack, config: Config, models: Sequence[DeployedModel], root: Path, scratch: Path
) -> list[cdk.NestedStack]:
    """A stack for each model on a GPU, behind the one that they share; none where there are
    none.
    """
    heavy = [model for model in models if model.on_gpu]
    if not heavy:
        return []
    shared = GpuStack(whole, "gpu", config=config, models=heavy)
    on_ecs = config.gpu.backend == "ecs"
    worker = link_files(worker_files(root), scratch / "worker") if on_ecs else ""
    stacks: list[cdk.NestedStack] = [shared]
    for model in heavy:
        own = (
            ""
            if on_ecs
            else link_files(accelerated_files(root, model), scratch / "accelerated" / model.name)
        )
        stack = GpuModelStack(
            whole,
            f"gpu-{model.resource}",
            config=config,
            model=model,
            context=worker or own,
            scratch=scratch / "weights" / model.name,
        )
        _after(stack, shared)  # its workers run on the machines there
        stacks.append(stack)
    return stacks


def _after(later: cdk.NestedStack, earlier: cdk.NestedStack) -> None:
    """Deploy one nested stack after another, and delete it before."""
    resource, needed = later.nested_stack_resource, earlier.nested_stack_resource
    assert resource is not None
    assert needed is not None
    resource.add_resource_dependency(needed)
