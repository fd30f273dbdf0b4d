"""The public HTTPS API: one REST API from one document, with access logs, throttling and keys."""

import json
from collections.abc import Mapping
from typing import Any, Final

from aws_cdk import RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.constructs.identity import RETENTION
from onnxlift.hosting import Api

# What each line of the access log says; the body of a request or an answer is never in it.
ACCESS_LOG: Final = {
    "time": "$context.requestTime",
    "request_id": "$context.requestId",
    "function_request_id": "$context.integration.requestId",
    "method": "$context.httpMethod",
    "path": "$context.path",
    "route": "$context.resourcePath",
    "status": "$context.status",
    "error": "$context.error.message",
    "function_error": "$context.integrationErrorMessage",
    "latency_ms": "$context.responseLatency",
    "function_latency_ms": "$context.integrationLatency",
    "answer_bytes": "$context.responseLength",
    "source_ip": "$context.identity.sourceIp",
    "user_agent": "$context.identity.userAgent",
    "api_key_id": "$context.identity.apiKeyId",
}


class Gateway(Construct):
    """A Regional REST API; ``api.log_retention_days`` bounds its access log, ``api.throttle`` all
    callers together.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        name: str,
        document: Mapping[str, Any],
        api: Api,
    ) -> None:
        super().__init__(scope, id)
        access_log = logs.LogGroup(
            self,
            "AccessLog",
            retention=RETENTION[api.log_retention_days],
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.api = apigateway.SpecRestApi(
            self,
            "Api",
            rest_api_name=name,
            api_definition=apigateway.ApiDefinition.from_inline(document),
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            # API Gateway writes access logs with one role for each account and region: it outlives
            # this service.
            cloud_watch_role=True,
            cloud_watch_role_removal_policy=RemovalPolicy.RETAIN,
            deploy_options=apigateway.StageOptions(
                stage_name=api.stage,
                throttling_rate_limit=api.throttle.rate,
                throttling_burst_limit=api.throttle.burst,
                access_log_destination=apigateway.LogGroupLogDestination(access_log),
                access_log_format=apigateway.AccessLogFormat.custom(json.dumps(ACCESS_LOG)),
            ),
        )
        self.api.node.try_remove_child(
            "Endpoint"
        )  # the stack gives the address a name that a person can type
        self.key = self._add_key(name, api) if api.api_key_required else None

    def _add_key(self, name: str, api: Api) -> apigateway.IApiKey:
        """One key to start with, under a plan that more keys can join."""
        key = self.api.add_api_key("Key", description=f"First key of {name}")
        plan = self.api.add_usage_plan(
            "Plan",
            description=f"Callers of {name}",
            api_stages=[
                apigateway.UsagePlanPerApiStage(api=self.api, stage=self.api.deployment_stage)
            ],
            throttle=apigateway.ThrottleSettings(
                rate_limit=api.throttle.rate, burst_limit=api.throttle.burst
            ),
        )
        plan.add_api_key(key)
        return key
