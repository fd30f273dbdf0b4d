"""What a call's answer takes at least."""

from onnxlift_runtime.protocols.oip import WantedOutput
from onnxlift_runtime.protocols.oip_call import answer_bytes
from tests.support import builders


def test_the_answer_counts_outputs_that_are_asked_for_in_their_form() -> None:
    manifest = builders.manifest(
        outputs=(builders.spec("y", "FP32", (-1, 3)), builders.spec("z", "INT8", (-1, -1)))
    )

    assert answer_bytes(manifest, 10, [WantedOutput("y", binary=True)]) == 160
    assert answer_bytes(manifest, 10, [WantedOutput("y"), WantedOutput("z", classes=3)]) == 60 + 60
    assert answer_bytes(manifest, 10, [WantedOutput("z", binary=True)]) == 14


def test_classes_are_counted_so_that_millions_of_them_are_refused_before_they_are_written() -> None:
    batched = builders.manifest(outputs=(builders.spec("y", "FP32", (-1, 9, 1024)),))
    single = builders.manifest(outputs=(builders.spec("y", "FP32", (9, 1024)),), max_batch_size=0)

    assert answer_bytes(batched, 256, [WantedOutput("y", classes=10**9)]) == 256 * 9 * 1024 * 6
    assert answer_bytes(batched, 0, [WantedOutput("y", classes=10**9)]) == 0
    assert answer_bytes(single, 1, [WantedOutput("y", classes=100)]) == 100 * 6
