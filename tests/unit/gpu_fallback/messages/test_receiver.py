"""When a receiver takes messages, and when it leaves them."""

import json

from gpu_fallback.messages.in_flight import Holdings
from gpu_fallback.messages.receiver import Receiver
from onnxlift_runtime.aws.queues import Message
from onnxlift_runtime.names import GPU, queue_name
from tests.support.memory import SERVICE, Memory
from tests.unit.gpu_fallback.conftest import MODEL


def test_nothing_is_received_while_the_worker_rests() -> None:
    memory, resting = Memory(), [True]
    taken: list[Message] = []
    queue = queue_name(SERVICE, MODEL, GPU)
    memory.queues.send_message(QueueUrl=queue, MessageBody=json.dumps({"job": "j"}))
    receiver = Receiver(
        memory.service.queues, MODEL, Holdings(1), taken.append, 0, 60, lambda: resting[-1]
    )

    receiver.step()
    before = len(taken)
    resting.append(False)
    receiver.step()

    assert (before, len(taken)) == (0, 1)
