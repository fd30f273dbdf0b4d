"""Whatever a caller sends, the answer is a 4xx in the one form, and the service stays alive and
small.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator

import httpx
import psutil
import pytest

from onnxlift.local.process import RunningService
from tests.integration.bad_requests import BOMB, INFER, Bad, bad_requests, tensor
from tests.support.counts import count
from tests.support.errors import missing

WARM_UP, COUNT = count(500, 2_000), count(1_000, 10_000)
GROWTH_MB = 16  # what an allocator keeps; one leaked body of each request would be far more
MIB = 2**20


@pytest.fixture
def client(service: RunningService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=120, trust_env=False) as opened:
        yield opened


def _wrongly_answered(client: httpx.Client, requests: Iterable[Bad]) -> Counter[str]:
    """Count what was answered in any way but a 4xx with ``{"error": text}``."""
    found: Counter[str] = Counter()
    for bad in requests:
        answer = client.request(bad.method, bad.path, content=bad.body, headers=bad.headers)
        if not _is_refusal(answer):
            found[
                f"{bad.kind}: {answer.status_code} {answer.text[:80]} for {bad.body[:120]!r}"
            ] += 1
    return found


def _is_refusal(answer: httpx.Response) -> bool:
    try:
        error = json.loads(answer.content)["error"]
    except (ValueError, KeyError, TypeError):
        return False
    return 400 <= answer.status_code < 500 and isinstance(error, str) and bool(error)


@pytest.mark.fuzz
def test_thousands_of_bad_requests_are_refused_and_leave_no_memory_behind(
    service: RunningService, client: httpx.Client
) -> None:
    process = psutil.Process(service.process.pid)
    wrong = _wrongly_answered(client, bad_requests(WARM_UP, seed=1))
    before = process.memory_info().rss

    wrong += _wrongly_answered(client, bad_requests(COUNT, seed=2))
    grown_mb = (process.memory_info().rss - before) / MIB

    assert wrong == Counter()
    assert service.process.poll() is None
    assert grown_mb < GROWTH_MB
    assert client.get("/v2/health/ready").status_code == 200


def test_compression_bombs_are_refused_before_they_take_their_memory(
    service: RunningService, client: httpx.Client
) -> None:
    bombs = [Bad("bomb", "POST", INFER, BOMB, {"Content-Encoding": "gzip"})] * 12

    wrong = _wrongly_answered(client, bombs)

    assert wrong == Counter()
    assert psutil.Process(service.process.pid).memory_info().rss < 600 * MIB


def test_a_request_after_bad_ones_is_answered(client: httpx.Client) -> None:
    _wrongly_answered(client, bad_requests(50, seed=3))

    answer = client.post(INFER, json={"inputs": [tensor()]})

    assert answer.status_code == 200


def test_an_input_that_only_the_graph_can_refuse_is_a_400_in_the_one_form(
    client: httpx.Client,
) -> None:
    body = {"inputs": [tensor(shape=[1, 5], data=[1] * 5)]}

    answer = client.post("/v2/models/failing/infer", json=body)

    assert answer.status_code == 400
    assert missing(answer.json()["error"], "'failing'") == []
