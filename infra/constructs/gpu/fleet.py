"""As many GPU workers as their jobs are worth, down to none."""

from collections.abc import Sequence
from typing import Final

from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from constructs import Construct

from onnxlift.scaling import MEASURES, PERIOD_S, Rule

DIMENSION: Final = "ecs:service:DesiredCount"


class Fleet(Construct):
    """The ECS service ``name`` of ``cluster``, whose number of tasks follows the rules.

    Where ``desired`` is not said, a deployment leaves the number as it is. ECS then begins a new
    service with one task, which proves that machine, image and files are to be had, and ends when
    it has been idle.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        cluster: str,
        name: str,
        provider: str,
        definition: ecs.TaskDefinition,
        queue: str,
        max_tasks: int,
        rules: Sequence[Rule],
        desired: int | None = None,
    ) -> None:
        super().__init__(scope, id)
        self._dimensions = {
            "AWS/SQS": {"QueueName": queue},
            "AWS/ECS": {"ClusterName": cluster, "ServiceName": name},
        }
        service = self._add_service(cluster, name, provider, definition, desired)
        target = scaling.CfnScalableTarget(
            self,
            "Target",
            service_namespace="ecs",
            scalable_dimension=DIMENSION,
            resource_id=f"service/{cluster}/{name}",
            min_capacity=0,
            max_capacity=max_tasks,
        )
        target.add_resource_dependency(service)
        for rule in rules:
            self._add_alarm(rule, self._add_policy(rule, name, target))

    def _add_service(
        self,
        cluster: str,
        name: str,
        provider: str,
        definition: ecs.TaskDefinition,
        desired: int | None,
    ) -> ecs.CfnService:
        service = ecs.CfnService(
            self,
            "Service",
            cluster=cluster,
            service_name=name,
            desired_count=desired,
            task_definition=definition.task_definition_arn,
            capacity_provider_strategy=[
                ecs.CfnService.CapacityProviderStrategyItemProperty(
                    capacity_provider=provider, weight=1
                )
            ],
            # The old worker ends before the new one starts, on the machine that has the image: no
            # second GPU is paid.
            deployment_configuration=ecs.CfnService.DeploymentConfigurationProperty(
                minimum_healthy_percent=0,
                maximum_percent=100,
                deployment_circuit_breaker=ecs.CfnService.DeploymentCircuitBreakerProperty(
                    enable=True, rollback=True
                ),
            ),
            availability_zone_rebalancing="DISABLED",
            enable_ecs_managed_tags=True,
            propagate_tags="SERVICE",
        )
        service.node.add_dependency(definition)  # with the policies of its roles
        return service

    def _add_policy(
        self, rule: Rule, name: str, target: scaling.CfnScalableTarget
    ) -> scaling.CfnScalingPolicy:
        return scaling.CfnScalingPolicy(
            self,
            f"{rule.name.title()}Policy",
            policy_name=f"{name}-{rule.name}",
            policy_type="StepScaling",
            scaling_target_id=target.ref,
            step_scaling_policy_configuration=scaling.CfnScalingPolicy.StepScalingPolicyConfigurationProperty(
                adjustment_type="ExactCapacity",
                cooldown=rule.cooldown_s,
                metric_aggregation_type="Maximum",
                step_adjustments=_adjustments(rule),
            ),
        )

    def _add_alarm(self, rule: Rule, policy: scaling.CfnScalingPolicy) -> cloudwatch.CfnAlarm:
        """An alarm that acts each minute that it is on; a minute that nobody counted is none that
        it is on in.
        """
        operator = "LessThanOrEqualToThreshold" if rule.few else "GreaterThanOrEqualToThreshold"
        figure = cloudwatch.CfnAlarm.MetricDataQueryProperty(
            id="figure", expression=rule.signal.expression, label=rule.name, return_data=True
        )
        return cloudwatch.CfnAlarm(
            self,
            f"{rule.name.title()}Alarm",
            alarm_description=rule.description,
            comparison_operator=operator,
            threshold=rule.threshold,
            evaluation_periods=rule.minutes,
            datapoints_to_alarm=rule.minutes,
            treat_missing_data="notBreaching",
            metrics=[figure, *(self._metric(field) for field in rule.signal.fields)],
            alarm_actions=[policy.ref],
        )

    def _metric(self, field: str) -> cloudwatch.CfnAlarm.MetricDataQueryProperty:
        measure = MEASURES[field]
        dimensions = self._dimensions[measure.namespace].items()
        return cloudwatch.CfnAlarm.MetricDataQueryProperty(
            id=field,
            return_data=False,
            metric_stat=cloudwatch.CfnAlarm.MetricStatProperty(
                period=PERIOD_S,
                stat=measure.statistic,
                metric=cloudwatch.CfnAlarm.MetricProperty(
                    namespace=measure.namespace,
                    metric_name=measure.metric,
                    dimensions=[
                        cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value)
                        for name, value in dimensions
                    ],
                ),
            ),
        )


def _adjustments(rule: Rule) -> list[scaling.CfnScalingPolicy.StepAdjustmentProperty]:
    """The steps as Application Auto Scaling counts them: from the alarm's threshold on."""
    step = scaling.CfnScalingPolicy.StepAdjustmentProperty
    if rule.few:
        return [step(metric_interval_upper_bound=0, scaling_adjustment=rule.steps[0].tasks)]
    bounds: list[int | None] = [found.messages - rule.threshold for found in rule.steps]
    return [
        step(
            metric_interval_lower_bound=lower,
            metric_interval_upper_bound=upper,
            scaling_adjustment=found.tasks,
        )
        for found, lower, upper in zip(rule.steps, bounds, [*bounds[1:], None], strict=True)
    ]
