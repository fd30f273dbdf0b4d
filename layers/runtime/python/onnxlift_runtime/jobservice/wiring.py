"""The job service that a function's settings name."""

from onnxlift_runtime.aws import clients
from onnxlift_runtime.aws.objects import ObjectStore
from onnxlift_runtime.aws.queues import Queues
from onnxlift_runtime.aws.table import JobTable
from onnxlift_runtime.aws.wake import Alarm
from onnxlift_runtime.jobs.metrics import Meter
from onnxlift_runtime.jobservice.requests import Intake
from onnxlift_runtime.jobservice.service import JobService
from onnxlift_runtime.settings import Settings


def connect(settings: Settings, waker: Alarm | None = None) -> JobService:
    """Connect to the table, the bucket and the queues of the service; ``waker`` where others ask it
    too.
    """
    meter = Meter(settings.service if settings.metrics else "")
    return JobService(
        JobTable(clients.dynamodb(), settings.jobs_table, meter.watch),
        ObjectStore(clients.s3(), settings.data_bucket),
        Queues(clients.sqs(), settings.service, (waker or alarm(settings)).wake),
        meter=meter,
        limits=settings.limits,
    )


def open_intake(settings: Settings) -> Intake:
    """Where the requests of a service become jobs."""
    waker = alarm(settings)
    schemes = ("https", "http") if settings.private_webhooks else ("https",)
    return Intake(
        connect(settings, waker), schemes if settings.webhook_secret else (), waker.is_awake
    )


def alarm(settings: Settings) -> Alarm:
    """What wakes the GPU workers of the service; nobody has to be woken where it names no
    cluster.
    """
    return Alarm(clients.ecs, settings.gpu_cluster, settings.service)
