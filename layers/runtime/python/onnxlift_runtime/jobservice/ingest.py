"""What comes by bucket and by queue becomes jobs: one for each object version, one for each
message.

What cannot be run becomes a failed job that says why, told like any other; only AWS's own failures
are raised, and the message then comes again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from onnxlift_runtime import telemetry
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.routing import GPU_ALONE
from onnxlift_runtime.errors import JobConflict, JobNotFound, RequestError
from onnxlift_runtime.jobs import messages, objects
from onnxlift_runtime.jobs.job import Delivery, Job, Payload, job_id
from onnxlift_runtime.jobs.messages import Call, Message
from onnxlift_runtime.jobs.objects import FORMAT_HEADER, Dropped
from onnxlift_runtime.jobs.triggers import S3_CALLER, Join, Read
from onnxlift_runtime.jobservice import split_join
from onnxlift_runtime.jobservice.process import queue_of
from onnxlift_runtime.jobservice.service import JobService, Submission
from onnxlift_runtime.names import GPU, IN_PREFIX, LAMBDA


@dataclass(frozen=True, slots=True)
class Ingest:
    """The service, its models, and ``tell``, which is called at least once for each job that ended
    here.

    ``readers`` maps each queue to what reads its records. ``owner`` names this process in leases,
    ``lease_ms`` is how long it may take for a join. ``tier_of`` gives where a model's jobs run by
    default.
    """

    service: JobService
    catalog: Catalog
    tell: Callable[[Job], None]
    readers: Mapping[str, Read]
    owner: str
    lease_ms: int
    tier_of: Callable[[str], str] = lambda _model: LAMBDA

    def take(self, record: Mapping[str, Any]) -> None:
        """One record of an SQS event; what it raises means that the message must come again."""
        for item in self.readers[queue_of(record)](record):
            match item:
                case Call():
                    self.take_call(item)
                case Join():
                    self.join(item)
                case Dropped():
                    self.take_object(item)

    def join(self, asked: Join) -> None:
        """Join the results of a job's parts; raises ``JobConflict`` while another process does."""
        try:
            whole = split_join.join(self.service, asked.job_id, self.owner, self.lease_ms)
        except JobNotFound:
            telemetry.log("warning", "message without a job", job=asked.job_id)
            return
        if whole is not None:
            self.tell(whole)

    def take_object(self, dropped: Dropped) -> Job | None:
        """One version of one object as one job; None for what is no input."""
        if dropped.is_folder or not dropped.key.startswith(IN_PREFIX):
            return None
        asked = Submission(
            caller=S3_CALLER,
            model=dropped.model,
            version="",
            payload=Payload(
                {}, "", dropped.size_bytes, None, dropped.bucket, dropped.key, dropped.version
            ),
            key=dropped.identity,
            delivery=Delivery(output_key=dropped.output_key, output_order=dropped.order),
        )
        try:
            dropped.check()
            return self._submit(asked, None, dropped.format)
        except RequestError as error:
            return self._refuse(asked, error)

    def take_call(self, call: Call) -> Job:
        """One message of a caller as one job, whatever is in it."""
        try:
            message = messages.decode_message(call.body, self.service.store.bucket)
            asked = self._asked(message, call)
            return self._submit(
                asked, message.version, asked.payload.headers.get(FORMAT_HEADER, "")
            )
        except RequestError as error:
            model, reply_to = messages.read_leniently(call.body)
            payload = Payload.of(call.body.encode(errors="replace"), {})
            # A key of its own: what failed may be that the caller used its idempotency key for
            # something else.
            refused = Submission(call.caller, model, "", payload, _key(call))
            return self._refuse(replace(refused, delivery=Delivery(reply_queue=reply_to)), error)

    def _asked(self, message: Message, call: Call) -> Submission:
        payload = Payload.of(message.request, {"content-type": "application/json"})
        if message.reference is not None:
            payload = self._referred(message.reference)
        return Submission(
            caller=call.caller,
            model=message.model,
            version="",
            payload=payload,
            key=message.idempotency_key or _key(call),
            ttl_ms=message.ttl_ms,
            delivery=Delivery(reply_queue=message.reply_to),
        )

    def _referred(self, reference: messages.Reference) -> Payload:
        """The object that a message names, looked up, not read."""
        found = self.service.store.describe(reference.key)
        version = reference.version or found.object_version
        dropped = Dropped(found.bucket, reference.key, found.size_bytes)
        word = reference.format or dropped.format
        objects.check_size(reference.key, word, found.size_bytes)
        return replace(found, headers={FORMAT_HEADER: word}, object_version=version)

    def _submit(self, asked: Submission, version: str | None, word: str) -> Job:
        """Queue what the model exists for, in parts where it is large; delivered again, as it was
        the first time.
        """
        stored = self._stored(asked)
        found = stored.version if stored else self.catalog.find(asked.model, version).version
        headers = {FORMAT_HEADER: word} if word else asked.payload.headers
        tier = self.tier_of(asked.model)
        told = replace(asked, tier=tier, reason=GPU_ALONE if tier == GPU else "")
        asked = replace(told, version=found, payload=replace(asked.payload, headers=headers))
        in_parts = objects.is_split(word, asked.payload.size_bytes)
        job = split_join.split(self.service, asked) if in_parts else self.service.submit(asked)
        if job.final:  # ended by now; whoever ended it may have died before telling
            self.tell(job)
        return job

    def _refuse(self, asked: Submission, error: RequestError) -> Job:
        try:
            job = self.service.refuse(asked, str(error))
        except JobConflict:  # an earlier delivery was not refused
            job = self.service.table.get(job_id(asked.caller, asked.key))
        telemetry.log("info", "refused", job=job.id, model=job.model, why=str(error))
        if job.final:
            self.tell(job)
        return job

    def _stored(self, asked: Submission) -> Job | None:
        try:
            return self.service.table.get(job_id(asked.caller, asked.key))
        except JobNotFound:
            return None


def _key(call: Call) -> str:
    """What makes a message that is delivered twice one job."""
    return f"message {call.message_id}"
