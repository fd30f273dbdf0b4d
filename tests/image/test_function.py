"""The image as Lambda runs it: its answers, its boundaries, and what is said when the memory does
not suffice.
"""

from pathlib import Path

import pytest

from infra.images.engine import ContainerEngine
from tests.image.conftest import HEAVY_MB, HUNGRY_MEMORY_MB
from tests.image.container import FunctionFailed, RunningFunction, running_function
from tests.image.events import decoded, get, infer
from tests.support.errors import missing, raises


def test_the_first_request_is_answered_and_the_next_finds_the_models_open(
    function: RunningFunction,
) -> None:
    first, warm = (function.invoke(infer("linear", "FP32", [1, 2, 3, 4])) for _ in range(2))

    assert [first["statusCode"], warm["statusCode"]] == [200, 200]
    assert decoded(first)["model_version"] == "2"
    assert decoded(first)["outputs"] == decoded(warm)["outputs"]
    assert function.log().count('"model": "linear", "version": "2", "load_ms"') == 1


def test_a_request_that_is_wrong_is_answered_and_no_failure_of_the_function(
    function: RunningFunction,
) -> None:
    answer = function.invoke(infer("linear", "FP32", [1, 2, 3]))

    assert answer["statusCode"] == 400
    found = decoded(answer)
    assert list(found) == ["error"]
    assert missing(found["error"], "'x'", "[1,3]", "[-1,4]") == []


def test_every_model_of_the_image_is_ready(function: RunningFunction) -> None:
    answer = function.invoke(get("/v2/health/ready"))

    assert (answer["statusCode"], decoded(answer)) == (200, {"ready": True})


def test_nothing_but_the_scratch_folder_can_be_written(function: RunningFunction) -> None:
    tried = (
        "for place in ('/', '/opt/python', '/opt/models', '/var/task', '/tmp'): "
        "print(os.access(place, os.W_OK))"
    )

    assert function.execute(f"import os\n{tried}").split() == ["False"] * 4 + ["True"]


def test_the_function_runs_as_nobody_in_particular(function: RunningFunction) -> None:
    assert function.execute("import os; print(os.getuid(), os.getgid())") == "993 990"


def test_the_libraries_load_without_what_was_left_out(function: RunningFunction) -> None:
    loaded = (
        "import boto3, numpy, onnxruntime, orjson; from PIL import Image, JpegImagePlugin, "
        "PngImagePlugin"
    )
    used = """
import io
for kind in ('JPEG', 'PNG'):
    file = io.BytesIO()
    Image.new('RGB', (8, 8), 'red').save(file, kind)
    print(Image.open(io.BytesIO(file.getvalue())).convert('RGB').getpixel((4, 4))[0] > 250)
for service in ('dynamodb', 'ecs', 'events', 's3', 'secretsmanager', 'sns', 'sqs', 'sts'):
    print(boto3.client(service, region_name='us-east-1').meta.service_model.service_name == service)
print(bool((numpy.linalg.inv(2 * numpy.eye(2)) == numpy.eye(2) / 2).all()))
"""

    assert set(function.execute(loaded + used).split()) == {"True"}


def test_a_request_that_takes_too_much_memory_is_told_and_the_next_is_answered(
    engine: ContainerEngine, image: str
) -> None:
    small, large = (infer("hungry", "INT64", [count]) for count in (1_000, 400_000_000))

    with running_function(engine, image, memory_mb=HUNGRY_MEMORY_MB) as function:
        before = function.invoke(small)
        with raises(FunctionFailed, "Runtime.ExitError", "signal: killed"):
            function.invoke(large)
        after = function.invoke(small)

    assert [decoded(answer)["outputs"][0]["data"] for answer in (before, after)] == [[1_000.0]] * 2


def test_a_model_that_does_not_fit_the_memory_is_told_with_the_first_request(
    engine: ContainerEngine, image: str, heavy: Path
) -> None:
    options = [f"--volume={heavy}:/opt/models:ro"]

    with (
        running_function(engine, image, memory_mb=HEAVY_MB, options=options) as function,
        raises(FunctionFailed, "signal: killed"),
    ):
        function.invoke(get("/v2/health/ready"))


@pytest.mark.parametrize("memory_mb", [256, 1769])
def test_a_small_model_answers_with_little_memory_and_with_a_whole_processor(
    engine: ContainerEngine, image: str, memory_mb: int
) -> None:
    with running_function(engine, image, memory_mb=memory_mb) as function:
        answer = function.invoke(infer("linear", "FP32", [1, 2, 3, 4]))

    assert answer["statusCode"] == 200
