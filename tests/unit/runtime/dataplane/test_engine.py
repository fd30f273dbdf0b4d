import json
from pathlib import Path

import numpy as np
import pytest

from onnxlift_runtime.dataplane.engine import Engine
from onnxlift_runtime.errors import ArtifactCorrupt, ModelUnavailable
from onnxlift_runtime.manifest import MANIFEST_NAME
from onnxlift_runtime.settings import Settings
from tests.support import builders
from tests.support.errors import raises
from tests.support.runtime.serving import Service, open_engine, tensor


@pytest.fixture
def half_broken(tmp_path: Path) -> Service:
    """Model ``good``, and ``bad`` whose newest version is not the file its manifest names."""
    for name, version in (("good", "1"), ("bad", "1"), ("bad", "2")):
        builders.write_artifact(tmp_path, builders.identity(), name=name, version=version)
    (tmp_path / "bad" / "2" / "model.onnx").write_bytes(b"torn")
    return Service.of(open_engine(tmp_path))


def test_a_corrupt_version_is_unavailable_with_its_reason(half_broken: Service) -> None:
    engine = half_broken.engine

    with raises(ModelUnavailable, "'bad'", "version 2", "model.onnx") as caught:
        engine.run(engine.catalog.find("bad"), {"x": np.zeros((1, 2), np.float32)}, ["y"])

    assert (caught.value.status, caught.value.retryable) == (503, True)
    assert int(caught.value.headers["Retry-After"]) > 0


@pytest.mark.parametrize("path", ["good", "bad/versions/1"])
def test_everything_else_still_serves(half_broken: Service, path: str) -> None:
    answer = half_broken.infer(path, tensor("x", "FP32", [1, 2], [1, 2]))

    assert answer["outputs"][0]["data"] == [1, 2]


def test_a_corrupt_version_alone_has_no_session(half_broken: Service) -> None:
    engine = half_broken.engine

    assert list(engine.failures) == [("bad", "2")]
    assert sorted(engine.sessions) == [("bad", "1"), ("good", "1")]


def test_opening_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    builders.write_artifact(tmp_path, builders.identity())

    open_engine(tmp_path)

    line = json.loads(capsys.readouterr().out)
    assert (line["message"], line["model"], line["version"]) == ("model opened", "tiny", "1")
    assert line["load_ms"] >= 0


def test_a_file_is_not_compared_where_the_settings_say_so(tmp_path: Path) -> None:
    builders.write_artifact(tmp_path, builders.identity())
    path = tmp_path / "tiny" / "1" / MANIFEST_NAME
    path.write_text(path.read_text().replace('"size_bytes": ', '"size_bytes": 1', 1))

    engine = Engine.open(Settings(models_dir=tmp_path, threads=1, verify=False))

    assert not engine.failures


def test_a_manifest_that_cannot_be_read_stops_the_function(tmp_path: Path) -> None:
    builders.write_artifact(tmp_path, builders.identity())
    (tmp_path / "tiny" / "1" / MANIFEST_NAME).write_text("{")

    with pytest.raises(ArtifactCorrupt):
        open_engine(tmp_path)


def test_an_empty_folder_opens_with_nothing_to_serve(tmp_path: Path) -> None:
    assert not open_engine(tmp_path).sessions
