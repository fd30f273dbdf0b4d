"""The API in front of all models."""

from collections.abc import Mapping, Sequence
from typing import Final

from aws_cdk import Annotations, ArnFormat, Duration, NestedStack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.assets import SHIPPED_MODELS
from infra.constructs.alarms import Alarms
from infra.constructs.api.domain import ApiDomain
from infra.constructs.api.firewall import Firewall
from infra.constructs.api.gateway import Gateway
from infra.constructs.functions.function import LIVE
from infra.constructs.functions.zip_function import CODE_FOLDER, ZipFunction
from infra.constructs.output import add_output
from infra.constructs.permissions import READ, SEND, WRITE, Permissions
from infra.models import DeployedModel
from infra.openapi import MAX_RESOURCES, Document, Targets, gateway_document, resource_count
from infra.settings import function_settings
from onnxlift.config import Config
from onnxlift.topology import CONTROL_TIMEOUT_S, SWEEP_EVERY_S
from onnxlift_runtime import names
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe.openapi import describe

CONTROL_MEMORY_MB: Final = 512


class ApiStack(NestedStack):
    """The REST API, the ``control`` function, and the permission to call each model's function.

    ``missing`` names models without an artifact, with what to do about each. ``code`` and ``layer``
    are the folders of the function and its layer.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        config: Config,
        models: Sequence[DeployedModel],
        missing: Mapping[str, str],
        code: str,
        layer: str,
    ) -> None:
        super().__init__(scope, id, description=f"onnxlift: API of {config.service}")
        self._settings = function_settings(config, models, CODE_FOLDER / SHIPPED_MODELS)
        control = ZipFunction(
            self,
            "Control",
            name="control",
            description="Answers for the service: its models, its jobs, and how to call it",
            code=code,
            layer=layer,
            settings=self._settings,
            memory_mb=CONTROL_MEMORY_MB,
            timeout_s=CONTROL_TIMEOUT_S,
            retention_days=config.api.log_retention_days,
            vpc=config.deployment.vpc,
        )
        self._allow_jobs(control, config)
        self._add_sweep(control)
        aliases = {model.name: self._alias_arn(model) for model in models if model.on_lambda}
        answering = self._uri(control.alias.function_arn)
        # A model that has no functions of its own is answered for by the service's.
        uris = {
            model.name: self._uri(aliases[model.name]) if model.on_lambda else answering
            for model in models
        }
        targets = Targets(answering, uris)
        document = _document(config, models, targets)
        gateway = Gateway(self, "Gateway", name=config.service, document=document, api=config.api)
        for name, arn in {"Control": control.alias.function_arn, **aliases}.items():
            self._allow(f"Call-{name}", arn, gateway)
        self._protect(config, gateway, control)
        self._warn(document, missing)
        add_output(self, "Url", value=gateway.api.url.rstrip("/"), description="Address of the API")
        if gateway.key is not None:
            told = "Show the key: aws apigateway get-api-key --include-value --api-key ID"
            add_output(self, "KeyId", value=gateway.key.key_id, description=told)

    def _protect(self, config: Config, gateway: Gateway, control: ZipFunction) -> None:
        """What the configuration asks for around the stage: a name, a firewall, alarms."""
        stage = gateway.api.deployment_stage
        if config.api.domain is not None:
            ApiDomain(self, "Domain", domain=config.api.domain, api=gateway.api, stage=stage)
        if config.deployment.is_watched:
            Firewall(self, "Firewall", stage=stage, throttle=config.api.throttle)
        alarms = Alarms(self, "Alarms", config=config)
        alarms.watch_function("Control", control.function)
        alarms.watch_api(config.service, config.api.stage)

    def _allow_jobs(self, control: ZipFunction, config: Config) -> None:
        permissions = Permissions(self, config)
        control.allow(
            *permissions.telling(),
            permissions.webhook_secret(),
            permissions.indexes(*names.TABLE_INDEXES),
            permissions.objects(READ, names.UPLOADS_PREFIX),
            permissions.absence(),
            permissions.objects(WRITE, names.UPLOADS_PREFIX, names.PAYLOADS_PREFIX),
            permissions.queues(
                (*SEND, "sqs:GetQueueAttributes"), *permissions.job_queues(self._settings)
            ),
            *permissions.waking(self._settings, *config.models),
        )

    def _add_sweep(self, control: ZipFunction) -> None:
        """Look for lost jobs; a look that fails is not repeated, the next one comes soon.

        Both have to be told: EventBridge tries again to hand its event to Lambda, and Lambda to run
        what it was handed.
        """
        events.Rule(
            self,
            "Sweep",
            description="Look for jobs that were lost, waited too long, or whose worker died",
            schedule=events.Schedule.rate(Duration.seconds(SWEEP_EVERY_S)),
            targets=[
                targets.LambdaFunction(
                    control.alias,
                    event=events.RuleTargetInput.from_object(names.SWEEP_EVENT),
                    retry_attempts=0,
                    max_event_age=Duration.seconds(SWEEP_EVERY_S),
                )
            ],
        )
        control.alias.configure_async_invoke(
            retry_attempts=0, max_event_age=Duration.seconds(SWEEP_EVERY_S)
        )

    def _alias_arn(self, model: DeployedModel) -> str:
        """The alias by its name: an import from the model's stack would forbid that the model ever
        moves or goes.
        """
        name = f"{model.function_name}:{LIVE}"
        return self.format_arn(
            service="lambda",
            resource="function",
            resource_name=name,
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )

    def _uri(self, alias_arn: str) -> str:
        """Where API Gateway invokes a function."""
        return self.format_arn(
            service="apigateway",
            account="lambda",
            resource=f"path/2015-03-31/functions/{alias_arn}/invocations",
        )

    def _allow(self, id: str, alias_arn: str, gateway: Gateway) -> None:  # noqa: A002
        lambda_.CfnPermission(
            self,
            id,
            action="lambda:InvokeFunction",
            function_name=alias_arn,
            principal="apigateway.amazonaws.com",
            source_arn=gateway.api.arn_for_execute_api(
                stage=gateway.api.deployment_stage.stage_name
            ),
        )

    def _warn(self, document: Document, missing: Mapping[str, str]) -> None:
        notes = Annotations.of(self)
        for name, what_to_do in missing.items():
            notes.add_warning_v2(f"onnxlift:compress-{name}", what_to_do)
        resources = resource_count(document["paths"])
        if resources > MAX_RESOURCES:
            notes.add_warning_v2(
                "onnxlift:resources",
                f"the API takes {resources} resources, an account has {MAX_RESOURCES} for each "
                f"until it asks for more",
            )


def _document(config: Config, models: Sequence[DeployedModel], targets: Targets) -> Document:
    catalog = Catalog.of(manifest for model in models for manifest in model.manifests)
    document = describe(
        catalog, title=config.service, api_key_required=config.api.api_key_required, jobs=True
    )
    return gateway_document(
        document, targets, config.api.throttle, function_settings(config, models).limits
    )
