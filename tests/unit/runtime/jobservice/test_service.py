"""Jobs in moto's table, bucket and queues: submitting, looking, listing, cancelling, retrying."""

import base64
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from onnxlift_runtime.aws import table
from onnxlift_runtime.aws.objects import INLINE_MAX_BYTES
from onnxlift_runtime.errors import JobConflict, JobNotFound, LeaseLost, MalformedRequest, NotFound
from onnxlift_runtime.jobs import lifecycle
from onnxlift_runtime.jobs.job import Delivery, JobStatus, Payload
from onnxlift_runtime.jobs.queueing import decode_job_message
from onnxlift_runtime.jobs.retention import DAY_MS, kept_until_ms
from onnxlift_runtime.jobservice.service import JobService, Submission, describe
from onnxlift_runtime.names import queue_name
from tests.support.errors import raises
from tests.support.runtime.job_service import CALLER, MODEL, SERVICE


def asked(body: bytes = b"{}", **changes: Any) -> Submission:
    fields: dict[str, Any] = {
        "caller": CALLER,
        "model": MODEL,
        "version": "1",
        "payload": Payload.of(body, {"a": "b"}),
    }
    return Submission(**(fields | changes))


def messages(service: JobService) -> list[str]:
    client = service.queues._client
    url = client.get_queue_url(QueueName=queue_name(SERVICE, MODEL, "lambda"))["QueueUrl"]
    found: list[str] = []
    while batch := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += [decode_job_message(message["Body"]) for message in batch]
    return found


def test_submit_stores_the_job_and_announces_it(service: JobService) -> None:
    job = service.submit(asked(reason="asked for"))

    assert service.get(job.id, CALLER) == job
    assert messages(service) == [job.id]


def test_large_payloads_go_to_the_bucket_and_come_back_whole(service: JobService) -> None:
    body = bytes(range(256)) * 300

    job = service.submit(asked(body))

    assert len(body) > INLINE_MAX_BYTES
    assert job.payload.body is None
    assert service.store.fetch(job.payload, len(body)) == body


def test_a_payload_that_was_changed_in_the_bucket_is_refused(service: JobService) -> None:
    job = service.submit(asked(b"x" * (INLINE_MAX_BYTES + 1)))
    forged = Payload(job.payload.headers, "0" * 64, 1, None, job.payload.bucket, job.payload.key)

    with raises(MalformedRequest, "SHA-256"):
        service.store.fetch(forged, 10**6)
    with pytest.raises(NotFound):
        service.store.fetch(Payload({}, "", 0, None, "data", "payloads/none"), 10)


def test_one_idempotency_key_gives_one_job(service: JobService) -> None:
    first, second = service.submit(asked(key="k")), service.submit(asked(key="k"))

    assert first == second
    assert service.submit(asked(key="k", caller="another")).id != first.id


def test_an_idempotency_key_in_parallel_gives_one_job(service: JobService) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: service.submit(asked(key="k")), range(16)))

    assert len({job.id for job in found}) == 1
    assert len(service.table.list(CALLER).jobs) == 1


@pytest.mark.parametrize("size", [10, INLINE_MAX_BYTES + 1])
def test_an_idempotency_key_with_another_payload_conflicts_and_spoils_nothing(
    service: JobService, size: int
) -> None:
    first = service.submit(asked(b"a" * size, key="k"))

    with raises(JobConflict, "'k'"):
        service.submit(asked(b"b" * size, key="k"))

    assert service.store.fetch(service.get(first.id, CALLER).payload, size) == b"a" * size


def test_another_callers_job_does_not_exist(service: JobService) -> None:
    job = service.submit(asked())

    for look in (service.get, service.cancel, service.retry):
        with pytest.raises(JobNotFound):
            look(job.id, "another")


def test_get_tells_that_a_job_has_expired(service: JobService) -> None:
    job = service.submit(asked(ttl_ms=1))

    assert service.get(job.id, CALLER).status is JobStatus.EXPIRED


def test_retry_announces_the_job_again(service: JobService) -> None:
    job = service.submit(asked())
    service.cancel(job.id, CALLER)

    service.retry(job.id, CALLER)

    assert messages(service) == [job.id, job.id]
    with pytest.raises(JobConflict):
        service.retry(job.id, CALLER)


def test_racing_changes_leave_exactly_one_outcome(service: JobService) -> None:
    job = service.submit(asked())
    held = service.table.change(job.id, lambda found: lifecycle.claim(found, "w", 1, 10**9))

    def finish(turn: int) -> str:
        try:
            if turn % 2:
                return str(service.cancel(job.id, CALLER).status)
            done = service.table.change(
                job.id, lambda found: lifecycle.succeed(found, held, Payload.of(b"r", {}), 5)
            )
        except Exception as error:
            return type(error).__name__
        return str(done.status)

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(finish, range(8)))

    final = service.get(job.id, CALLER).status
    assert {"SUCCEEDED", "CANCELED"} & set(told) == {str(final)}
    assert told.count("SUCCEEDED") <= 1


def test_lists_are_filtered_and_paged_newest_first(service: JobService) -> None:
    made = [service.submit(asked()) for _ in range(5)]
    for job in made[:2]:
        service.cancel(job.id, CALLER)
    service.submit(asked(caller="another"))

    first = service.table.list(CALLER, limit=3)
    second = service.table.list(CALLER, limit=3, cursor=first.cursor)

    assert [job.id for job in (*first.jobs, *second.jobs)] == [job.id for job in reversed(made)]
    assert second.cursor == ""
    assert {job.id for job in service.table.list(CALLER, status="CANCELED", limit=2).jobs} == {
        made[0].id,
        made[1].id,
    }
    assert service.table.list(CALLER, model="other").jobs == ()


def test_a_cursor_leads_into_nobody_elses_list(service: JobService) -> None:
    for caller in (CALLER, CALLER, "another"):
        service.submit(asked(caller=caller))

    page = service.table.list("another", cursor=service.table.list(CALLER, limit=1).cursor)

    assert page.jobs == ()


@pytest.mark.parametrize(
    "place",
    [
        b"?",
        b"no",
        b"{}",
        b"[" * 5_000,
        b'{"id":1,"caller":2,"created_ms":3}',
        b"1/x",
        b"-1/" + b"a" * 36,
    ],
)
def test_a_foreign_cursor_is_refused(service: JobService, place: bytes) -> None:
    with raises(MalformedRequest, "'cursor'"):
        service.table.list(CALLER, cursor=base64.urlsafe_b64encode(place).decode())
    with raises(MalformedRequest, "'cursor'"):
        service.table.list(CALLER, cursor=place.decode())


def test_a_filter_that_leaves_most_jobs_out_takes_one_query(service: JobService) -> None:
    made = [service.submit(asked()) for _ in range(7)]
    service.cancel(made[0].id, CALLER)
    queries: list[str] = []
    service.table._client.meta.events.register(
        "before-call.dynamodb.Query", lambda **_: queries.append("one")
    )

    (found,) = service.table.list(CALLER, status="CANCELED", limit=1).jobs

    assert found.id == made[0].id
    assert queries == ["one"]


def test_a_page_ends_early_before_it_takes_too_long_and_goes_on_from_there(
    service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [service.submit(asked()) for _ in range(7)]
    for job in (made[0], made[5]):
        service.cancel(job.id, CALLER)
    monkeypatch.setattr(table, "_LOOKED_AT", 2)
    monkeypatch.setattr(table, "_MAX_QUERIES", 2)

    first = service.table.list(CALLER, status="CANCELED", limit=2)
    second = service.table.list(CALLER, status="CANCELED", limit=2, cursor=first.cursor)

    assert [[job.id for job in page.jobs] for page in (first, second)] == [
        [made[5].id],
        [made[0].id],
    ]
    assert second.cursor == ""


def test_position_counts_unfinished_jobs_that_came_earlier(service: JobService) -> None:
    made = [service.submit(asked()) for _ in range(4)]
    service.cancel(made[1].id, CALLER)

    assert service.table.ahead(made[3]) == 2
    assert service.table.overdue(f"{MODEL}#lambda", service.clock(), 0).unfinished == 3


def test_a_list_has_all_that_is_told_of_a_job_and_no_payload(service: JobService) -> None:
    job = service.submit(asked(reason="prefer", delivery=Delivery(webhook="https://example.org/")))

    (listed,) = service.table.list(CALLER).jobs

    assert describe(listed) == describe(job)
    assert listed.payload.body is None


def test_only_jobs_that_something_may_have_happened_to_are_overdue(service: JobService) -> None:
    young, old, held, lapsed, expired = (
        service.submit(asked(ttl_ms=ttl_ms)) for ttl_ms in (9000, 9000, 9000, 9000, 9)
    )
    now_ms = expired.expires_ms
    service.table.change(
        held.id, partial(lifecycle.claim, owner="w", now_ms=now_ms - 1, lease_ms=9000)
    )
    service.table.change(
        lapsed.id, partial(lifecycle.claim, owner="w", now_ms=now_ms - 1, lease_ms=0)
    )
    service.table.change(old.id, partial(replace, revision=2, created_ms=now_ms - 500))
    service.table.change(young.id, partial(replace, revision=2, created_ms=now_ms - 499))

    found = service.table.overdue(f"{MODEL}#lambda", now_ms, 500)

    assert {job.id for job in found.jobs} == {old.id, lapsed.id, expired.id}
    assert found.unfinished == 5


def test_a_change_of_what_was_seen_reads_nothing_unless_somebody_was_faster(
    service: JobService,
) -> None:
    job = service.submit(asked())
    held = service.table.change(
        job.id, lambda found: lifecycle.claim(found, "w", 1, 10**9), seen=job
    )

    canceled = service.cancel(job.id, CALLER)
    with pytest.raises(LeaseLost):
        service.table.change(
            job.id, lambda found: lifecycle.succeed(found, held, Payload.of(b"r", {}), 5), seen=held
        )

    assert held.revision == 2
    assert service.get(job.id, CALLER) == canceled


def test_describe_tells_only_what_is_known(service: JobService) -> None:
    told = describe(service.submit(asked(reason="prefer")), position=0)

    assert told["status"] == "QUEUED"
    assert told["position"] == 0
    assert not {"error", "result", "started_ms"} & set(told)


def test_a_record_is_gone_no_later_than_its_result_when_kept_for_one_day(
    service: JobService,
) -> None:
    short = replace(service, table=table.JobTable(service.table._client, "jobs", keep_days=1))
    job = short.submit(asked())
    held = short.table.change(
        job.id, lambda found: lifecycle.claim(found, "me", short.clock(), 60_000)
    )
    written_ms = short.clock()
    result = Payload.of(b"y" * (INLINE_MAX_BYTES + 1), {})
    short.table.change(
        job.id, lambda found: lifecycle.succeed(found, held, result, short.clock() + 50_000)
    )

    item = short.table.read_note(job.id)
    assert item["expire_at_s"] * 1000 <= written_ms + DAY_MS

    late = replace(short, clock=lambda: written_ms + DAY_MS)
    with pytest.raises(JobNotFound):
        late.get(job.id, CALLER)
    assert short.get(job.id, CALLER).status is JobStatus.SUCCEEDED


def test_a_job_that_failed_is_kept_from_its_end(service: JobService) -> None:
    job = service.submit(asked())

    failed = service.table.change(
        job.id, lambda found: lifecycle.abandon(found, "why", service.clock())
    )

    assert kept_until_ms(failed, 3) == failed.finished_ms + 3 * DAY_MS
