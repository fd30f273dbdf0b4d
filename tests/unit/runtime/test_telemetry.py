import json
from datetime import UTC, datetime

import pytest

from onnxlift_runtime import telemetry


def test_a_line_is_json_with_time_level_message_and_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = datetime.now(UTC)

    telemetry.log("info", "answered", status=200, path="/é\n\ud800")

    text = capsys.readouterr().out
    line = json.loads(text)
    assert text.count("\n") == 1
    assert abs((datetime.fromisoformat(line.pop("timestamp")) - before).total_seconds()) < 60
    assert line == {"level": "INFO", "message": "answered", "status": 200, "path": "/é\n\ud800"}


@pytest.mark.parametrize(
    ("level", "kept"),
    [
        ("error", ["error"]),
        ("INFO", ["info", "warning", "error"]),
        ("loud", ["debug", "info", "warning", "error"]),
    ],
)
def test_lines_below_the_level_are_dropped(
    level: str, kept: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure(level)

    for name in telemetry.LEVELS:
        telemetry.log(name, "text")

    assert [
        json.loads(line)["level"].lower() for line in capsys.readouterr().out.splitlines()
    ] == kept
