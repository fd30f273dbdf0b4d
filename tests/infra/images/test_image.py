"""The CDK's builds reach the package index as ours do, and their images do not depend on who builds
them.
"""

from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_ecr_assets as ecr_assets

from infra.constructs import image
from infra.constructs.image import build_reach


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    build_reach.cache_clear()


def _secrets(monkeypatch: pytest.MonkeyPatch, **named: str) -> None:
    monkeypatch.setattr(
        image, "build_secrets", lambda _folder: {name: Path(path) for name, path in named.items()}
    )


def _asset_hash(context: Path, **arguments: Any) -> str:
    stack = cdk.Stack(cdk.App(analytics_reporting=False), "images")
    return ecr_assets.DockerImageAsset(
        stack, "Image", directory=str(context), **arguments
    ).asset_hash


def test_a_plain_machine_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _secrets(monkeypatch)

    assert build_reach(tmp_path) == {}


def test_the_way_to_the_index_changes_no_images_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\n")
    _secrets(monkeypatch, pip="/one/pip.conf")

    arguments = build_reach(tmp_path)

    assert arguments["build_secrets"] == {"pip": "src=/one/pip.conf"}
    assert _asset_hash(context, **arguments) == _asset_hash(context)
