"""The whole service from one configuration file: a stack for each model, then the API in front of them."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import aws_cdk as cdk

from infra.assets import control_files, image_files, layer_files, link_files
from infra.models import read_models
from infra.stacks.api import ApiStack
from infra.stacks.model import ModelStack
from onnxlift.config import CONFIG_NAME, Config, load_config


def synthesise(root: Path, environ: Mapping[str, str]) -> None:
    """Write the cloud assembly of the service in ``root``, or of the file that the context value ``config`` names.

    Raises ``ConfigInvalid``, ``PlacementImpossible`` and ``ArtifactCorrupt``.
    """
    app = cdk.App(analytics_reporting=False)
    named = app.node.try_get_context("config")
    config = load_config(Path(named) if named else root / CONFIG_NAME)
    with tempfile.TemporaryDirectory() as folder:
        compose(app, config, root, Path(folder), _environment(environ))
        app.synth()


def _environment(environ: Mapping[str, str]) -> cdk.Environment:
    """The account and region that the command line found, or none of both: a region alone is only its guess."""
    account, region = environ.get("CDK_DEFAULT_ACCOUNT"), environ.get("CDK_DEFAULT_REGION")
    return cdk.Environment(account=account, region=region) if account and region else cdk.Environment()


def compose(scope: cdk.App | cdk.Stage, config: Config, root: Path, scratch: Path, env: cdk.Environment) -> None:
    """Add the service's stacks to ``scope``; assets are laid out below ``scratch``, which must live until synthesis."""
    models, missing = read_models(config)
    stacks = [
        ModelStack(
            scope,
            f"{config.service}-model-{model.name}",
            config=config,
            model=model,
            context=link_files(image_files(root, model), scratch / "images" / model.name),
            env=env,
        )
        for model in models
    ]
    api = ApiStack(
        scope,
        f"{config.service}-api",
        config=config,
        models=models,
        missing=missing,
        code=link_files(control_files(root, models), scratch / "control"),
        layer=link_files(layer_files(root), scratch / "layer"),
        env=env,
    )
    for stack in stacks:
        api.add_stack_dependency(stack, "the API may call a function only once it is there")
    cdk.Tags.of(scope).add("onnxlift:service", config.service)
