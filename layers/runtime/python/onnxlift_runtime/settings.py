"""What a function or worker is told through its environment: the CDK app writes it, they read it,
names stand once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.names import LAMBDA

PREFIX: Final = "ONNXLIFT_"
MIB: Final = 1024 * 1024
# Of a whole number; Python refuses to read very long ones in words of its own.
MAX_DIGITS: Final = 18

T = TypeVar("T", "Limits", "Settings", "WorkerSettings")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that are checked before memory is taken.

    Sizes in bytes. ``max_body_bytes`` is what fits API Gateway's 10 MB and Lambda's 6 MB after
    base64; ``max_json_bytes`` holds after decompression: parsed, JSON takes up to 40 times its own
    size, binary tensors do not. ``max_answer_bytes`` is Lambda's 6 MB response with its envelope.
    """

    max_body_bytes: int = int(4.5 * MIB)
    max_decompressed_bytes: int = 32 * MIB
    max_json_bytes: int = 8 * MIB
    max_tensor_bytes: int = 64 * MIB
    max_answer_bytes: int = 6_291_556
    max_dimensions: int = 16


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a function; ``to_env`` and ``from_env`` are each other's inverse.

    ``models_dir``: folder of ``<model>/<version>/manifest.json``. ``threads``: onnxruntime's
    intra-op threads, 0 for one per processor the function has. ``verify``: compare each file's
    SHA-256 before it is loaded. ``api_key_required``: whether the API's own description tells
    callers to send a key. ``metrics``: write what is measured about jobs to the log, as CloudWatch
    reads it.

    The rest is for jobs, and empty where the service has none: the DynamoDB table and the bucket
    that hold them, the EventBridge bus and the SNS topic that are told when one ends.
    ``webhook_secret`` names the Secrets Manager secret that webhooks are signed with,
    ``private_webhooks`` lets them go to private addresses too. ``batch_workers`` is how many jobs
    of one model run at once, from which a job's start is estimated; 0 for unknown.
    ``job_timeout_s`` is how long a job may take on Lambda. ``tiers`` says where each model's jobs
    can run, as ``model=tier+tier,…``; a model that it does not name has Lambda alone.
    ``gpu_cluster`` is the ECS cluster whose services are woken when a job comes for them; empty
    where nobody has to be woken.

    ``limits`` takes one variable for each limit; those at their default are not written.
    """

    service: str = "onnxlift"
    models_dir: Path = Path("/opt/models")
    threads: int = 0
    verify: bool = True
    log_level: str = "INFO"
    api_key_required: bool = False
    metrics: bool = False
    jobs_table: str = ""
    data_bucket: str = ""
    event_bus: str = ""
    topic: str = ""
    webhook_secret: str = ""
    private_webhooks: bool = False
    batch_workers: int = 0
    job_timeout_s: int = 300
    tiers: str = ""
    gpu_cluster: str = ""
    limits: Limits = DEFAULT_LIMITS

    def tiers_of(self, model: str) -> tuple[str, ...]:
        """Where jobs of a model can run; the first is where they go by default."""
        told = dict(item.split("=", 1) for item in self.tiers.split(",") if item)
        return tuple(told.get(model, LAMBDA).split("+"))

    def to_env(self) -> dict[str, str]:
        """The environment variables that ``from_env`` reads back to equal settings."""
        return _to_env(self)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read settings from environment variables; what is absent keeps its default."""
        return _from_env(cls, environ)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a GPU worker is told beyond ``Settings``.

    ``serve``: names of the models whose queues it works on, separated by commas. ``weights``:
    ``s3://bucket/key`` of the index of their files; empty where ``models_dir`` holds them.
    ``max_batch_size`` is in rows, ``max_wait_ms`` how long a job waits for others to be run with.
    ``timeout_s`` is when an inference counts as hung. ``device_memory_mb``: what the sessions on
    the device may take, 0 for no bound but the device's own. ``stop_within_s``: how long after
    SIGTERM it is killed. ``health_file`` is touched while it works.
    """

    serve: str = ""
    weights: str = ""
    max_batch_size: int = 32
    max_wait_ms: int = 10
    timeout_s: int = 3600
    device_memory_mb: int = 0
    allow_cpu: bool = False
    stop_within_s: int = 120
    health_file: Path = Path("/tmp/onnxlift-healthy")  # noqa: S108  # the one folder that a worker may write to

    def to_env(self) -> dict[str, str]:
        """The environment variables that ``from_env`` reads back to equal settings."""
        return _to_env(self)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "WorkerSettings":
        """Read settings from environment variables; what is absent keeps its default."""
        return _from_env(cls, environ)


def _to_env(settings: Settings | WorkerSettings) -> dict[str, str]:
    environ: dict[str, str] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        environ |= _limits_to_env(value) if isinstance(value, Limits) else _encode(item.name, value)
    return environ


def _limits_to_env(limits: Limits) -> dict[str, str]:
    environ: dict[str, str] = {}
    for item in fields(limits):
        value = getattr(limits, item.name)
        environ |= {} if value == item.default else _encode(item.name, value)
    return environ


def _from_env(cls: type[T], environ: Mapping[str, str]) -> T:
    values: dict[str, Any] = {}
    for item in fields(cls):
        name = PREFIX + item.name.upper()
        if isinstance(item.default, Limits):
            values[item.name] = _from_env(Limits, environ)
        elif name in environ:
            values[item.name] = _decode(name, environ[name], item.default)
    return cls(**values)


def _encode(name: str, value: object) -> dict[str, str]:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return {PREFIX + name.upper(): text}


def _decode(name: str, text: str, default: object) -> object:
    """Read ``text`` as the type of ``default``."""
    if isinstance(default, bool):
        if text not in {"true", "false"}:
            raise ConfigInvalid(f"environment variable {name} is {text!r}, allowed: true, false")
        return text == "true"
    if isinstance(default, int):
        if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS:
            raise ConfigInvalid(
                f"environment variable {name} is {text[:40]!r}, allowed: a whole number from 0"
            )
        return int(text)
    return Path(text) if isinstance(default, Path) else text
