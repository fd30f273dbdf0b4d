"""What one model on a GPU is given: a queue, a worker that may do little, and rules for how many
there are.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.constructs.functions.accelerator import accelerator_gib
from infra.constructs.gpu.worker import task_memory_mb
from onnxlift_runtime.settings import Settings, WorkerSettings
from tests.infra.assembly import Assembly, Resource, flat

BIG, BOTH, API, JOBS = "lab-gpu-big", "lab-gpu-both", "lab-api", "lab-jobs"
INTEGRATION = "x-amazon-apigateway-integration"


def container(assembly: Assembly, stack: str = BIG) -> Resource:
    (found,) = assembly.only(stack, "AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    definition: Resource = found
    return definition


def environment(assembly: Assembly, stack: str = BIG) -> dict[str, Any]:
    return {item["Name"]: item["Value"] for item in container(assembly, stack)["Environment"]}


def statements(assembly: Assembly, stack: str, role: str) -> list[dict[str, Any]]:
    policies = assembly.resources(stack, "AWS::IAM::Policy").items()
    (policy,) = (found for name, found in policies if name.startswith(role))
    return list(policy["Properties"]["PolicyDocument"]["Statement"])


def actions(statement: dict[str, Any]) -> set[str]:
    found = statement["Action"]
    return set(found) if isinstance(found, list) else {found}


def resources(statement: dict[str, Any]) -> list[str]:
    found = statement["Resource"]
    return [json.dumps(each) for each in (found if isinstance(found, list) else [found])]


def fleet(assembly: Assembly, name: str) -> dict[str, tuple[Resource, Resource]]:
    """The alarm and the policy of each rule of an ECS service."""
    policies = assembly.resources(BIG, "AWS::ApplicationAutoScaling::ScalingPolicy")
    found = {}
    for alarm in assembly.resources(BIG, "AWS::CloudWatch::Alarm").values():
        if "Ref" not in alarm["Properties"]["AlarmActions"][0]:
            continue  # it tells somebody, and changes nothing
        policy = policies[alarm["Properties"]["AlarmActions"][0]["Ref"]]["Properties"]
        service, _, rule = policy["PolicyName"].rpartition("-")
        if service == name:
            found[rule] = (alarm["Properties"], policy["StepScalingPolicyConfiguration"])
    return found


@pytest.mark.parametrize("name", ["lab", "group"])
def test_a_worker_is_no_root_and_may_write_to_its_scratch_folder_alone(
    request: pytest.FixtureRequest, name: str
) -> None:
    worker = container(request.getfixturevalue(name))

    assert worker["User"] == "10001:10001"
    assert worker["ReadonlyRootFilesystem"] is True
    assert worker["LinuxParameters"] == {
        "Capabilities": {"Drop": ["ALL"]},
        "InitProcessEnabled": True,
    }
    assert worker["MountPoints"] == [
        {"ContainerPath": "/tmp", "ReadOnly": False, "SourceVolume": "scratch"}
    ]
    assert not {"Privileged", "Secrets", "PortMappings"} & {
        key for key, value in worker.items() if value
    }


def test_a_worker_has_one_gpu_time_to_stop_and_a_check_of_its_health(lab: Assembly) -> None:
    worker = container(lab)

    assert worker["ResourceRequirements"] == [{"Type": "GPU", "Value": "1"}]
    assert worker["StopTimeout"] == int(environment(lab)["ONNXLIFT_STOP_WITHIN_S"])
    assert worker["HealthCheck"]["Command"] == ["CMD", "python3", "-m", "gpu_fallback.health"]


@pytest.mark.parametrize("name", ["lab", "group"])
def test_a_worker_is_told_its_region_which_ecs_tells_on_fargate_alone(
    request: pytest.FixtureRequest, name: str
) -> None:
    told = environment(request.getfixturevalue(name))["AWS_DEFAULT_REGION"]

    assert told == {"Ref": "AWS::Region"}


def test_a_worker_is_told_what_the_configuration_says(lab: Assembly) -> None:
    told = {
        name: flat(value) if isinstance(value, str) else "s3"
        for name, value in environment(lab).items()
    }

    worker, settings = WorkerSettings.from_env(told), Settings.from_env(told)

    assert (worker.serve, worker.max_batch_size, worker.stop_within_s) == ("big", 16, 120)
    assert settings.tiers_of("big") == ("gpu",)
    assert settings.models_dir == Path("/tmp/models")


def test_the_index_names_every_file_of_the_model_in_its_own_bucket(lab: Assembly) -> None:
    (bucket, key) = (
        json.dumps(environment(lab)["ONNXLIFT_WEIGHTS"]).partition("s3://")[2].rsplit("/", 1)
    )
    index = json.loads((lab.folder / f"asset.{key.partition('.json')[0]}.json").read_text())
    assets = json.loads((lab.folder / "lab.assets.json").read_text())["files"].values()

    (model,) = index["models"]

    keys = {place["objectKey"] for asset in assets for place in asset["destinations"].values()}
    assert "cdk-hnb659fds-assets" in bucket
    assert model["manifest"]["name"] == "big"
    assert set(model["files"]) == {entry["path"] for entry in model["manifest"]["files"]}
    assert set(model["files"].values()) <= keys


def test_the_image_is_the_same_for_every_model_and_holds_none(lab: Assembly) -> None:
    assert container(lab, BIG)["Image"] == container(lab, BOTH)["Image"]
    digest = json.dumps(container(lab)["Image"]).rpartition(":")[2][:64]
    (folder,) = {path.parents[0] for path in lab.folder.glob("asset.*/gpu_fallback")}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    assert len(digest) == 64
    assert {"gpu_fallback/Dockerfile", "requirements/gpu.txt"} <= files
    assert not [name for name in files if name.startswith(("artifacts", "handlers", "onnxlift/"))]


def test_a_worker_may_do_what_it_must_and_nothing_in_general(lab: Assembly) -> None:
    allowed = statements(lab, BIG, "WorkerTaskTaskRole")

    protecting = [found for found in allowed if "ecs:UpdateTaskProtection" in actions(found)]
    reading = [
        found
        for found in allowed
        if any("cdk-hnb659fds-assets" in name for name in resources(found))
    ]
    consuming = [found for found in allowed if "sqs:ReceiveMessage" in actions(found)]
    assert all(":task/lab-gpu/*" in name for found in protecting for name in resources(found))
    assert [actions(found) for found in reading] == [{"s3:GetObject"}]
    assert all(".onnx" in name or ".json" in name for name in resources(reading[0]))
    assert [
        name for found in consuming for name in resources(found) if ":lab-big-gpu-jobs" not in name
    ] == []
    assert not [found for found in allowed if any("*" in action for action in actions(found))]
    assert not [found for found in allowed if '"*"' in resources(found)]


def test_the_first_job_starts_one_worker_and_more_start_more(lab: Assembly) -> None:
    alarm, policy = fleet(lab, "lab-big-gpu")["busy"]

    assert policy["AdjustmentType"] == "ExactCapacity"
    assert policy["StepAdjustments"] == [
        {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 1},
        {"MetricIntervalLowerBound": 10, "MetricIntervalUpperBound": 20, "ScalingAdjustment": 2},
        {"MetricIntervalLowerBound": 20, "ScalingAdjustment": 3},
    ]
    assert (alarm["Threshold"], alarm["EvaluationPeriods"], alarm["TreatMissingData"]) == (
        1,
        1,
        "notBreaching",
    )
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"


@pytest.mark.parametrize("rule", ["idle", "leftover"])
def test_workers_end_only_after_the_configured_minutes_without_a_job(
    lab: Assembly, rule: str
) -> None:
    alarm, policy = fleet(lab, "lab-big-gpu")[rule]

    assert policy["StepAdjustments"] == [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": 0}]
    assert (alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]) == (20, 20)
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanOrEqualToThreshold", 0)
    assert alarm["TreatMissingData"] == "notBreaching"


def test_alarms_look_at_the_models_own_queue_each_minute(lab: Assembly) -> None:
    for rule in ("lab-big-gpu", "lab-big-gpu-standby"):
        for alarm, _ in fleet(lab, rule).values():
            metrics = [found["MetricStat"] for found in alarm["Metrics"] if "MetricStat" in found]
            queues = {each["Metric"]["Dimensions"][0]["Value"] for each in metrics}

            assert {each["Period"] for each in metrics} == {60}
            assert queues <= {"lab-big-gpu-jobs", "lab-gpu"}


def test_a_deployment_leaves_the_number_of_workers_alone_and_goes_back_when_they_do_not_start(
    lab: Assembly,
) -> None:
    service = lab.having(BIG, "AWS::ECS::Service", "ServiceName", "lab-big-gpu")

    breaker = service["DeploymentConfiguration"]["DeploymentCircuitBreaker"]

    assert "DesiredCount" not in service
    assert breaker == {"Enable": True, "Rollback": True}


def test_a_worker_on_demand_stands_in_where_there_are_no_spot_machines(
    lab: Assembly, group: Assembly
) -> None:
    services = [found["Properties"] for found in lab.resources(BIG, "AWS::ECS::Service").values()]
    (only,) = (found["Properties"] for found in group.resources(BIG, "AWS::ECS::Service").values())

    providers = {
        each["ServiceName"]: each["CapacityProviderStrategy"][0]["CapacityProvider"]
        for each in services
    }

    assert providers == {
        "lab-big-gpu": "gpu-lab-managed-spot",
        "lab-big-gpu-standby": "gpu-lab-managed-on-demand",
    }
    assert only["CapacityProviderStrategy"][0]["CapacityProvider"] == "gpu-lab-group-on-demand"


def test_paths_of_a_model_on_a_gpu_alone_go_to_the_services_function(lab: Assembly) -> None:
    paths = lab.only(API, "AWS::ApiGateway::RestApi")["Body"]["paths"]

    uris = {
        path: {flat(each[INTEGRATION]["uri"]) for each in methods.values()}
        for path, methods in paths.items()
    }

    for model, function in (
        ("big", "<ControlLive"),
        ("both", ":lab-both-predict:live"),
        ("small", "lab-small-predict"),
    ):
        for path in (
            f"/v2/models/{model}",
            f"/v2/models/{model}/infer",
            f"/v1/models/{model}:predict",
        ):
            (uri,) = uris[path]
            assert function in uri
        (below,) = uris[f"/v2/models/{model}/{{proxy+}}"]
        assert function in below


@pytest.mark.parametrize(
    ("stack", "role", "models"),
    [
        ("lab-model-both", "PredictIdentity", {"both"}),
        (API, "ControlIdentity", {"both", "big"}),
        (JOBS, "IngestIdentity", {"both", "big"}),
        (JOBS, "EscalateIdentity", {"both"}),
    ],
)
def test_whoever_submits_jobs_may_wake_their_workers_and_send_to_their_queues(
    lab: Assembly, stack: str, role: str, models: set[str]
) -> None:
    allowed = statements(lab, stack, role)

    waking = [found for found in allowed if "ecs:UpdateService" in actions(found)]
    sending = "".join(
        name
        for found in allowed
        if "sqs:SendMessage" in actions(found)
        for name in resources(found)
    )

    (statement,) = waking
    assert actions(statement) == {"ecs:DescribeServices", "ecs:UpdateService"}
    services = "".join(resources(statement))
    assert len(resources(statement)) == len(models)
    assert all(f":service/lab-gpu/lab-{model}-gpu" in services for model in models)
    assert all(f":lab-{model}-gpu-jobs" in sending for model in models)


def test_functions_of_models_on_lambda_alone_wake_nobody(lab: Assembly) -> None:
    allowed = statements(lab, "lab-model-small", "PredictIdentity")

    assert not [found for found in allowed if "ecs:UpdateService" in actions(found)]


def test_the_dead_letters_of_every_queue_are_escalated(lab: Assembly) -> None:
    feeds = lab.resources(JOBS, "AWS::Lambda::EventSourceMapping").values()
    escalated = {flat(feed["Properties"]["EventSourceArn"]).rpartition(":")[2] for feed in feeds}

    assert {name for name in escalated if name.endswith("-dead")} == {
        "lab-both-lambda-jobs-dead",
        "lab-both-gpu-jobs-dead",
        "lab-big-gpu-jobs-dead",
        "lab-small-lambda-jobs-dead",
    }


def test_a_function_with_a_gpu_takes_the_same_queue_and_is_called_experimental(
    accelerated: Assembly,
) -> None:
    function = accelerated.only(BIG, "AWS::Lambda::Function")
    feed = accelerated.only(BIG, "AWS::Lambda::EventSourceMapping")
    provider = function["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"]
    notes = (accelerated.folder / "lab.metadata.json").read_text()

    assert function["AcceleratorConfig"] == {"AcceleratorMemorySize": 3}
    assert function["Architectures"] == ["x86_64"]
    assert function["FunctionScalingConfig"] == {
        "MinExecutionEnvironments": 0,
        "MaxExecutionEnvironments": 1,
    }
    assert flat(provider["CapacityProviderArn"]).endswith(":capacity-provider:gpu-lab")
    assert feed["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert "is experimental" in notes


def test_functions_with_a_gpu_are_not_woken(accelerated: Assembly) -> None:
    functions = accelerated.resources("lab-model-both", "AWS::Lambda::Function").values()

    clusters = {
        each["Properties"]["Environment"]["Variables"]["ONNXLIFT_GPU_CLUSTER"] for each in functions
    }

    assert clusters == {""}


@pytest.mark.parametrize(
    ("memory_mb", "gib"), [(100, 3), (5_000, 6), (11_264, 12), (20_000, 24), (90_000, 48)]
)
def test_gpu_memory_is_the_smallest_that_holds_the_model(memory_mb: int, gib: int) -> None:
    assert accelerator_gib(memory_mb) == gib


@pytest.mark.parametrize(("memory_mb", "task_mb"), [(100, 8_192), (6_656, 9_216), (20_000, 22_528)])
def test_a_task_asks_for_what_its_model_needs_in_whole_gib(memory_mb: int, task_mb: int) -> None:
    assert task_memory_mb(memory_mb) == task_mb
