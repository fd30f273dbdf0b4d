"""What is told of a search while it goes on, where nobody looks at a terminal."""

import pytest

from onnxlift.cli import progress
from onnxlift.cli.progress import LINE_EVERY_S, progress_to
from onnxlift.compress.search.run import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now_s = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now_s[0])
    return now_s


def test_a_log_is_told_now_and_then_how_far_it_is(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_to("digits", quiet=False) as on_progress:
        on_progress(Progress("making int8", 1, 18, budget_s=300))
        clock[0] += LINE_EVERY_S
        on_progress(Progress("measuring int8", 2, 18, "int8-static", budget_s=300))
        on_progress(Progress("making blocks4", 3, 18, "int8-static", budget_s=300))
        clock[0] += LINE_EVERY_S
        on_progress(Progress("making blocks4", 4, 18))

    assert capsys.readouterr() == (
        "",
        "digits: 2 of 18 after 15 s of 300 s: measuring int8, best: int8-static\n"
        "digits: 4 of 18 after 30 s: making blocks4\n",
    )


def test_nothing_is_told_beside_json(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_to("digits", quiet=True) as on_progress:
        clock[0] += LINE_EVERY_S
        on_progress(Progress("making int8", 1, 18))

    assert capsys.readouterr() == ("", "")
