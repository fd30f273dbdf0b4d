"""The cloud assemblies of all tests here, each synthesised once for all workers."""

import fcntl
import functools
import os
from pathlib import Path

import pytest

from onnxlift_runtime.settings import Settings
from tests.infra.assembly import Assembly, synthesise
from tests.support import builders

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
def shop(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    folder = _shared_folder(tmp_path_factory) / "shop"
    return _assembled(folder, write_shop)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    folder = _shared_folder(tmp_path_factory) / "bare"
    return _assembled(folder, write_bare)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    return _assembled(_shared_folder(tmp_path_factory) / "lab", write_lab)


@pytest.fixture(scope="session")
def group(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    folder = _shared_folder(tmp_path_factory) / "group"
    return _assembled(folder, functools.partial(write_lab, gpu=GROUP))


@pytest.fixture(scope="session")
def accelerated(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    folder = _shared_folder(tmp_path_factory) / "accelerated"
    return _assembled(folder, functools.partial(write_lab, gpu=ACCELERATED))


def _write_config(folder: Path, text: str) -> Path:
    path = folder / "onnxlift.toml"
    path.write_text(text)
    return path


def _shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of one test run see."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def _assembled(folder: Path, write: object) -> Assembly:
    """Synthesise in the first worker that comes here; the others wait for it at the lock."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            assert callable(write)
            done = synthesise(write(folder), folder / "cdk.out")
            assert done.returncode == 0, done.stderr
    return Assembly(folder / "cdk.out")
