"""What a call's answer takes at least."""

from onnxlift_runtime.inference import answer_bytes
from onnxlift_runtime.oip import WantedOutput
from tests import builders


def test_the_answer_counts_outputs_that_are_asked_for_in_their_form() -> None:
    manifest = builders.manifest(outputs=(builders.spec("y", "FP32", (-1, 3)), builders.spec("z", "INT8", (-1, -1))))

    assert answer_bytes(manifest, 10, [WantedOutput("y", binary=True)]) == 160
    assert answer_bytes(manifest, 10, [WantedOutput("y"), WantedOutput("z", classes=3)]) == 60
    assert answer_bytes(manifest, 10, [WantedOutput("z", binary=True)]) == 14
