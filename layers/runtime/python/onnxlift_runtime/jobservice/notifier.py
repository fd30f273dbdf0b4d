"""Telling the world that a job has ended: events, notifications, the reply queue, the webhook, the
answer in ``out/``.

Every way is told at least once; each message carries an id that is the same whenever the same end
is told again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from botocore.exceptions import ClientError

from onnxlift_runtime import telemetry
from onnxlift_runtime.aws import clients
from onnxlift_runtime.aws.objects import result_key
from onnxlift_runtime.errors import StoreUnavailable
from onnxlift_runtime.jobs.job import Job
from onnxlift_runtime.jobservice import notices, outputs
from onnxlift_runtime.jobservice.service import JobService
from onnxlift_runtime.settings import Settings

Way = Callable[[Job], None]


@dataclass(frozen=True, slots=True)
class Notifier:
    """The ways on which this service tells that a job has ended."""

    ways: Sequence[Way]

    def tell(self, job: Job) -> None:
        """Tell it on every way, whatever becomes of the others.

        Raises ``StoreUnavailable`` where one of them is worth another try; one that will never work
        is logged.
        """
        failures = [failure for way in self.ways if (failure := _tell(way, job))]
        if failures:
            raise failures[0]


def open_notifier(settings: Settings, service: JobService) -> Notifier:
    """The notifier that the settings ask for."""
    ways: list[Way] = [lambda job: outputs.deliver(service, job), lambda job: _reply(service, job)]
    if settings.event_bus:
        ways.append(lambda job: _publish_event(settings, job))
    if settings.topic:
        ways.append(lambda job: _publish_notice(settings, service, job))
    if settings.webhook_secret:
        ways.append(lambda job: _send_webhook(service, job))
    return Notifier(ways)


def _tell(way: Way, job: Job) -> StoreUnavailable | None:
    try:
        way(job)
    except StoreUnavailable as error:
        return error
    except ClientError as error:
        telemetry.log("error", "end of a job not told", job=job.id, why=str(error))
    return None


def _reply(service: JobService, job: Job) -> None:
    if job.delivery.reply_queue:
        service.queues.reply(job.delivery.reply_queue, notices.reply(job))


def _send_webhook(service: JobService, job: Job) -> None:
    if job.delivery.webhook:
        service.queues.send_webhook(job)


def _publish_event(settings: Settings, job: Job) -> None:
    answer = clients.events().put_events(
        Entries=[notices.event(job, settings.service, settings.event_bus)]
    )
    if answer["FailedEntryCount"]:
        raise StoreUnavailable(
            f"EventBridge took no event of job {job.id}: {answer['Entries'][0].get('ErrorMessage')}"
        )


def _publish_notice(settings: Settings, service: JobService, job: Job) -> None:
    """A result that stands in the table is written to the bucket first: these consumers look
    nowhere else.
    """
    result = job.result
    if result is not None and result.body is not None:
        result = service.store.put(result, result_key(job))
    notice = notices.sagemaker_notice(job, result, region=settings.topic.split(":")[3])
    clients.sns().publish(TopicArn=settings.topic, Message=notice)
