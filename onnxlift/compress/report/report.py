"""The report's two files: ``report.json`` for programs, ``report.html`` for people."""

from typing import Final

from onnxlift.compress.report.page import draw
from onnxlift.compress.results import REPORT_NAME, Report

PAGE_NAME: Final = "report.html"


def report_files(report: Report) -> dict[str, str]:
    """The report's two files by name: for programs and for people."""
    return {REPORT_NAME: report.to_json(), PAGE_NAME: draw(report)}
