"""The cloud assemblies of all tests here, each synthesised once for all workers."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from onnxlift_runtime.settings import Settings
from tests.infra.assembly import OUT, Assembly, synthesise_all
from tests.support import builders
from tests.support.workers import made_once, shared_folder

SHOP = """
service = "shop"

[models.digits]
source = "digits.onnx"
version = 2
[models.digits.quality]
samples = "heldout.npz"

[models.pair]
source = "pair.onnx"
placement.memory_mb = 3008
[models.pair.quality]
samples = "heldout.npz"

[api]
stage = "v9"
api_key_required = true
throttle = { rate = 7, burst = 9 }
log_retention_days = 14

[jobs]
timeout_s = 120
batch_size = 4
concurrency = 3
keep_days = 9
reply_queues = ["answers"]
topic = true
"""

# What all its functions are told.
SHOP_SETTINGS = Settings(
    keep_days=9,
    service="shop",
    api_key_required=True,
    jobs_table="shop-jobs",
    data_bucket="shop-<AWS::AccountId>-<AWS::Region>",
    event_bus="shop",
    topic="arn:<AWS::Partition>:sns:<AWS::Region>:<AWS::AccountId>:shop-jobs",
    webhook_secret="shop-webhooks",
    batch_workers=3,
    job_timeout_s=120,
    metrics=True,
)

BARE = """
service = "bare"

[models.digits]
source = "digits.onnx"
[models.digits.quality]
samples = "heldout.npz"

[models.later]
source = "later.onnx"
[models.later.quality]
samples = "heldout.npz"
"""


# One model on each tier, and one on both, in a service that is looked after.
LAB = """
service = "lab"

[deployment]
profile = "standard"
alarm_email = "ops@example.com"

[api.domain]
name = "api.example.com"
certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1a2b"

[models.both]
source = "both.onnx"
placement.fallback = true
[models.both.quality]
samples = "heldout.npz"

[models.big]
source = "big.onnx"
placement.tier = "gpu"
[models.big.quality]
samples = "heldout.npz"

[models.small]
source = "small.onnx"
[models.small.quality]
samples = "heldout.npz"

[gpu]
"""
MANAGED = "max_tasks = 3\njobs_per_task = 10\nidle_minutes = 20\nmax_batch_size = 16"
GROUP = (
    'capacity = "group"\nnetwork = "endpoints"\nspot = false\ninstance_types = '
    '["g6e.2xlarge", "g5.2xlarge"]'
)
VPC = """
[deployment.vpc]
subnets = ["subnet-0a1b2c3d", "subnet-0123456789abcdef0"]
security_groups = ["sg-0f0e0d0c0b0a09080"]
"""
ACCELERATED = 'backend = "lambda"\nnetwork = "nat"\n' + VPC


def write_lab(folder: Path, gpu: str = MANAGED) -> Path:
    """A service with GPU workers as ``gpu`` describes them."""
    for name in ("both", "big", "small"):
        builders.write_artifact(folder / "artifacts", builders.linear(), name=name)
    return _write_config(folder, LAB + gpu)


def write_shop(folder: Path) -> Path:
    """A service with two models; the artifacts folder also holds what must not be shipped."""
    root = folder / "artifacts"
    builders.write_artifact(root, builders.convolution(), name="digits", version_labels=("stable",))
    builders.write_artifact(root, builders.linear(), name="digits", version="2")
    pair = builders.identities({"ids": ("INT64", (-1, -1)), "text": ("BYTES", (-1, 1))})
    builders.write_artifact(root, pair, name="pair", architecture="arm64")
    builders.write_artifact(root, builders.linear(), name="unconfigured")
    (root / "digits" / "2" / "report.html").write_text("not for the image")
    return _write_config(folder, SHOP)


def write_bare(folder: Path) -> Path:
    """A service with one model that is compressed and one that is not."""
    builders.write_artifact(folder / "artifacts", builders.linear(), name="digits")
    return _write_config(folder, BARE)


@pytest.fixture(scope="session")
def assemblies(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Assembly]:
    """The assembly of every service here by its name, made in one process for all workers."""

    def make(root: Path) -> None:
        for name in WRITERS:
            (root / name).mkdir()
        synthesise_all(*(write(root / name) for name, write in WRITERS.items()))

    root = made_once(shared_folder(tmp_path_factory) / "assemblies", make)
    return {name: Assembly(root / name / OUT) for name in WRITERS}


@pytest.fixture(scope="session")
def shop(assemblies: Mapping[str, Assembly]) -> Assembly:
    return assemblies["shop"]


@pytest.fixture(scope="session")
def bare(assemblies: Mapping[str, Assembly]) -> Assembly:
    return assemblies["bare"]


@pytest.fixture(scope="session")
def lab(assemblies: Mapping[str, Assembly]) -> Assembly:
    return assemblies["lab"]


@pytest.fixture(scope="session")
def group(assemblies: Mapping[str, Assembly]) -> Assembly:
    return assemblies["group"]


@pytest.fixture(scope="session")
def accelerated(assemblies: Mapping[str, Assembly]) -> Assembly:
    return assemblies["accelerated"]


def _write_config(folder: Path, text: str) -> Path:
    path = folder / "onnxlift.toml"
    path.write_text(text)
    return path


WRITERS: Final[Mapping[str, Callable[[Path], Path]]] = {
    "shop": write_shop,
    "bare": write_bare,
    "lab": write_lab,
    "group": functools.partial(write_lab, gpu=GROUP),
    "accelerated": functools.partial(write_lab, gpu=ACCELERATED),
}
