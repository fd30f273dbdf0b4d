"""The report's two files."""

from onnxlift.compress.report.report import PAGE_NAME, report_files
from onnxlift.compress.results import REPORT_NAME, Report
from tests.support.compress import findings


def test_the_files_are_one_for_programs_and_one_for_people() -> None:
    report = findings.report()

    files = report_files(report)

    assert set(files) == {REPORT_NAME, PAGE_NAME} == {"report.json", "report.html"}
    assert Report.from_json(files[REPORT_NAME]) == report
    assert files[PAGE_NAME].startswith("<!doctype html>")
