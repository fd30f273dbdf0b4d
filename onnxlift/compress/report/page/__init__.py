"""``report.html``: one file that explains a compression run to people, without scripts, fonts or
requests.

``draw`` puts the sections together: ``headline``, ``candidates`` with its ``plot``, ``weights``,
``origin``. All text goes through ``markup``, which escapes it, because names come out of model
files. ``scale``, ``frontier`` and ``labels`` decide what stands where; they are pure. ``page.css``
dresses it for light, dark and paper.
"""

from importlib import resources

from onnxlift.compress.report.page.candidates import candidates, plots
from onnxlift.compress.report.page.headline import headline
from onnxlift.compress.report.page.markup import document
from onnxlift.compress.report.page.origin import origin
from onnxlift.compress.report.page.weights import sensitivity, sizes
from onnxlift.compress.results import Report


def draw(report: Report) -> str:
    """The whole page of one report as HTML."""
    style = resources.files(__name__).joinpath("page.css").read_text("utf-8")
    sections = (
        headline(report),
        plots(report),
        candidates(report),
        sensitivity(report),
        sizes(report),
        origin(report),
    )
    return document(f"{report.model} {report.version}: compression report", style, *sections)
