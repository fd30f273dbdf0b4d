"""The stand-in for Lambda's context object."""

import time

from onnxlift.local.functions.context import LambdaContext


def test_the_time_left_falls_and_never_below_zero() -> None:
    fresh = LambdaContext("predict", 1_769, 29)
    spent = LambdaContext("predict", 1_769, 29, started_s=time.monotonic() - 60)

    assert 28_000 < fresh.get_remaining_time_in_millis() <= 29_000
    assert spent.get_remaining_time_in_millis() == 0


def test_every_invocation_has_an_id_of_its_own() -> None:
    first, second = LambdaContext("predict", 1_769, 29), LambdaContext("predict", 1_769, 29)

    assert first.aws_request_id != second.aws_request_id
    assert first.invoked_function_arn.endswith(":function:predict")
