"""Monthly cost of one model on Lambda and on GPU workers, and the rate at which both cost the same;
pure.

A GPU is not measured here: the time of its work is bounded by that of one processor at the best
batch size. Free tiers, cold starts and transfer to the internet are left out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from onnxlift.config import Config
from onnxlift.cost.prices import Prices
from onnxlift.hosting import Gpu
from onnxlift.placement import IMAGE_BASE_MB, Placement, needed_memory_mb
from onnxlift.scaling import rules, standby_rules
from onnxlift_runtime.manifest import Manifest
from onnxlift_runtime.names import GPU, LAMBDA

HOURS: Final = 730.0  # of a month
DAYS: Final = 30
BOOT_MINUTES: Final = 4.0  # of a GPU machine until its worker works
# A machine is paid for after its last task too; ECS takes one from a group after 15 minutes without
# use.
LINGER_MINUTES: Final = {"managed": 5.0, "group": 15.0}
# That GPU workers need besides the free ones of S3 and DynamoDB; a topic needs one more.
ENDPOINTS: Final = 8
ZONES: Final = 2
# What the profile `standard` has: two alarms for each function and each queue, and one for the API.
MODEL_ALARMS: Final = {LAMBDA: 6, GPU: 2}
FUNCTION_ALARMS: Final = 2  # more, where what works on a GPU is a function
SERVICE_ALARMS: Final = 15
FIREWALL_RULES: Final = 2
JOB_QUEUE_REQUESTS: Final = 3  # send, receive, delete
JOB_WRITES: Final = 3  # insert, claim, end
JOB_READS: Final = 3
_MB_PER_GB: Final = 1024
_BYTES_PER_GB: Final = 1024**3


@dataclass(frozen=True, slots=True)
class Traffic:
    """What so many requests cost in a month: on Lambda, and on GPU workers asked evenly or in one
    burst a day.

    None where the model cannot run there, or is too large for it.
    """

    requests: int
    lambda_usd: float | None
    gpu_even_usd: float
    gpu_daily_usd: float


@dataclass(frozen=True, slots=True)
class Idle:
    """What a month without a request costs: the model's kept image, weights and alarms, and what
    the service has.
    """

    model_usd: float
    service_usd: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """One model's costs; ``break_even_rps`` is the rate from which one GPU that never sleeps is
    cheaper than Lambda.
    """

    machine: str
    machine_hour_usd: float
    traffic: tuple[Traffic, ...]
    break_even_rps: float | None
    idle: Idle


def estimate(
    manifest: Manifest,
    placement: Placement,
    config: Config,
    prices: Prices,
    levels: tuple[int, ...],
) -> Estimate:
    """Estimate a model, all versions taken ``together``; raises ``ConfigInvalid`` for a machine
    without a price.
    """
    machine, hour_usd = machine_hour(config, prices)
    memory_mb = placement.memory_mb or needed_memory_mb(manifest)
    time_ms = math.ceil(request_ms(manifest))  # Lambda counts whole milliseconds
    per_request = request_usd(prices, memory_mb, time_ms, manifest.architecture)
    on_lambda = placement.tier == LAMBDA
    work_s = row_ms(manifest) / 1000
    traffic = tuple(
        Traffic(
            count,
            count * (per_request + prices.usd("api_request")) if on_lambda else None,
            *(
                count * job_usd(prices) + hours * hour_usd
                for hours in gpu_hours(count, work_s, config)
            ),
        )
        for count in levels
    )
    fixed_hour = network_months(prices, config)[config.gpu.network] / HOURS
    even = break_even_rps(hour_usd, per_request, fixed_hour) if on_lambda else None
    return Estimate(
        machine, hour_usd, traffic, even, idle_month(manifest, placement, config, prices)
    )


def break_even_rps(
    gpu_hour_usd: float, request_cost_usd: float, fixed_hour_usd: float = 0.0
) -> float:
    """Requests a second at which a GPU that is up all the time costs what Lambda does; it must
    sustain them too.
    """
    return (gpu_hour_usd + fixed_hour_usd) / (3600 * request_cost_usd)


def request_usd(prices: Prices, memory_mb: int, time_ms: float, architecture: str) -> float:
    """One request that takes ``time_ms`` in a Lambda function of ``memory_mb``."""
    gb_seconds = memory_mb / _MB_PER_GB * time_ms / 1000
    return gb_seconds * prices.usd(f"lambda_gb_second_{architecture}") + prices.usd(
        "lambda_request"
    )


def job_usd(prices: Prices) -> float:
    """One request that becomes a job: the API, its message, its row in the table."""
    queue = JOB_QUEUE_REQUESTS * prices.usd("sqs_request")
    table = JOB_WRITES * prices.usd("dynamodb_write") + JOB_READS * prices.usd("dynamodb_read")
    return prices.usd("api_request") + queue + table


def machine_hour(config: Config, prices: Prices) -> tuple[str, float]:
    """The first machine of the configuration, and what an hour of it costs with its fee and its
    address.
    """
    name, gpu = config.gpu.instance_types[0], config.gpu
    found = prices.machine(name)
    fee = (
        prices.usd("managed_instances_fee") * found.on_demand.usd
        if gpu.capacity == "managed"
        else 0.0
    )
    address = prices.usd("public_address_hour") if gpu.network == "public" else 0.0
    return name, (found.spot if gpu.spot else found.on_demand).usd + fee + address


def gpu_hours(count: int, work_s: float, config: Config) -> tuple[float, float]:
    """Machine hours of a month for requests that come evenly, and for those that come in one burst
    a day.
    """
    idle_h, work_h = config.gpu.idle_minutes / 60, count * work_s / 3600
    awake_h = (
        idle_h + (BOOT_MINUTES + LINGER_MINUTES[config.gpu.capacity]) / 60
    )  # of a worker, beside its work
    apart_h = HOURS / count if count else HOURS
    # A worker that is asked again before it sleeps stays up; one that sleeps is started for each
    # request.
    even = HOURS if apart_h <= idle_h else count * awake_h + work_h
    bursts = min(count, DAYS) * awake_h + work_h
    return max(min(even, HOURS), work_h), max(min(bursts, HOURS), work_h)


def network_months(prices: Prices, config: Config) -> Mapping[str, float]:
    """What each network that GPU machines may have costs a month while none of them runs."""
    endpoints = ENDPOINTS + config.jobs.topic
    return {
        "public": 0.0,
        "endpoints": endpoints * ZONES * prices.usd("endpoint_hour") * HOURS,
        "nat": prices.usd("nat_hour") * HOURS,
    }


def idle_month(manifest: Manifest, placement: Placement, config: Config, prices: Prices) -> Idle:
    """A month in which nobody asks for anything: images are kept for Lambda, weights and alarms for
    the GPU.
    """
    size_gb = manifest.size_bytes / _BYTES_PER_GB
    image_gb = IMAGE_BASE_MB / _MB_PER_GB + size_gb if LAMBDA in placement.tiers else 0.0
    weights_gb = size_gb if GPU in placement.tiers else 0.0
    kept = image_gb * prices.usd("ecr_gb_month") + weights_gb * prices.usd("s3_gb_month")
    scaling = _alarm_metrics(config.gpu) if GPU in placement.tiers else 0
    alarm_usd = prices.usd("alarm_metric_month")
    watched = watching_alarms(config, placement.tiers)
    return Idle(
        kept + (scaling + watched) * alarm_usd,
        prices.usd("secret_month") + _protection_usd(config, prices),
    )


def watching_alarms(config: Config, tiers: Sequence[str]) -> int:
    """How many alarms a model has that tell somebody."""
    if not config.deployment.is_watched:
        return 0
    more = FUNCTION_ALARMS if GPU in tiers and config.gpu.backend == "lambda" else 0
    return sum(MODEL_ALARMS[tier] for tier in tiers) + more


def _protection_usd(config: Config, prices: Prices) -> float:
    """What the profile adds to the whole service in a month: its alarms and the firewall."""
    if not config.deployment.is_watched:
        return 0.0
    firewall = prices.usd("firewall_month") + FIREWALL_RULES * prices.usd("firewall_rule_month")
    return SERVICE_ALARMS * prices.usd("alarm_metric_month") + firewall


def _alarm_metrics(gpu: Gpu) -> int:
    """How many metrics the alarms of a model's workers look at, each of which is paid for."""
    if gpu.backend != "ecs":
        return 0
    followed = (*rules(gpu), *(standby_rules(gpu) if gpu.spot else ()))
    return sum(len(rule.signal.fields) for rule in followed)


def request_ms(manifest: Manifest) -> float:
    """The time of one request: the p50 at the smallest batch that was measured."""
    return min(manifest.measurements.latency, key=lambda item: item.batch_size).p50_ms


def row_ms(manifest: Manifest) -> float:
    """The time of one row where many are run together: the best that was measured."""
    return min(item.p50_ms / item.batch_size for item in manifest.measurements.latency)
