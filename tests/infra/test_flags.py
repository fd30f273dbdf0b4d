"""``cdk.json`` takes what the pinned CDK recommends, but for one flag."""

import importlib.util
import json
import tarfile
from pathlib import Path

from tests.infra.assembly import ROOT

OWN = {"cli-telemetry": False, "@aws-cdk/core:defaultCrossStackReferences": "strong"}


def recommended_flags() -> dict[str, object]:
    """The list inside the CDK's own archive; reading it starts no Node."""
    spec = importlib.util.find_spec("aws_cdk")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (archive,) = (Path(spec.submodule_search_locations[0]) / "_jsii").glob("aws-cdk-lib@*.tgz")
    with tarfile.open(archive) as files:
        member = files.extractfile("package/recommended-feature-flags.json")
        assert member is not None
        flags: dict[str, object] = json.load(member)
    return flags


def test_context_is_what_the_cdk_recommends_and_our_exceptions() -> None:
    context = json.loads((ROOT / "cdk.json").read_text())["context"]

    assert context == recommended_flags() | OWN
