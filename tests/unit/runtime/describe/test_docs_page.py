from html.parser import HTMLParser

from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.describe import docs_page
from onnxlift_runtime.describe.openapi import describe
from onnxlift_runtime.manifest import Manifest
from tests.support import builders


class Reader(HTMLParser):
    """Collects tags, the addresses they load, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in {"src", "href", "style", "onclick"}
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(*manifests: Manifest) -> Reader:
    reader = Reader()
    reader.feed(
        docs_page.render(describe(Catalog.of(manifests), title="demo <1>", api_key_required=False))
    )
    return reader


def test_render_shows_every_operation_with_its_errors() -> None:
    manifest = builders.manifest(name="digits")
    document = describe(Catalog.of([manifest]), title="demo", api_key_required=False)

    reader = read(manifest)

    operations = sum(len(methods) for methods in document["paths"].values())
    assert reader.tags.count("details") == operations
    assert all(path in reader.text for path in document["paths"])
    assert "413  The request or its answer exceeds a size limit." in reader.text


def test_render_loads_nothing_from_anywhere() -> None:
    reader = read(builders.manifest())

    assert reader.addresses == ["openapi.json"]
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)


def test_render_escapes_what_a_model_brings() -> None:
    hostile = builders.spec("<script>alert(1)</script>", "FP32", (-1, 2))

    reader = read(builders.manifest([hostile]))

    assert "script" not in reader.tags
    assert "<script>alert(1)</script>" in reader.text
