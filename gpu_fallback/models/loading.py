"""The models of a GPU worker: fetched and opened when a job first needs them, dropped when others
need the room.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from gpu_fallback.models.devices import TENSORRT, Hardware, choose_device, look
from gpu_fallback.models.model_files import Weights, fetch, read_index
from gpu_fallback.models.session_cache import SessionCache
from gpu_fallback.models.splitting import run_in_portions
from onnxlift_runtime import telemetry
from onnxlift_runtime.aws import clients
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.session import Device, Session
from onnxlift_runtime.errors import (
    ArtifactCorrupt,
    ArtifactError,
    MemoryExhausted,
    ModelTooLarge,
    ModelUnavailable,
    OnnxliftError,
    StoreUnavailable,
)
from onnxlift_runtime.manifest import Manifest, read_manifests
from onnxlift_runtime.settings import MIB, Limits, Settings, WorkerSettings
from onnxlift_runtime.tensors.arrays import Array

# A model that cannot be opened is not tried again before, nor fetched again.
BROKEN_FOR_S: Final = 300.0
AWAY_FOR_S: Final = 15.0  # nor one whose files the store did not give
TENSORRT_CACHE: Final = ".tensorrt"

OpenSession = Callable[[Path, Manifest, Device], Session]
Fetch = Callable[[Manifest], Path]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a model could not be opened, and until when nobody tries again; ``until_s`` is
    monotonic.
    """

    error: OnnxliftError
    until_s: float


class Models:
    """All models that a worker may be asked for, as a ``batching.Runner``; safe to use from several
    threads.
    """

    def __init__(
        self,
        catalog: Catalog,
        device: Device,
        fetch_files: Fetch,
        open_session: OpenSession,
        *,
        limits: Limits,
        budget_mb: int = 0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """``fetch_files`` gives a model's folder; ``budget_mb`` is what all open sessions may take,
        0 for no bound.
        """
        self.catalog = catalog
        self.device = device
        self.limits = limits
        self._fetch = fetch_files
        self._open_session = open_session
        self._budget_mb = budget_mb
        self._clock = clock
        self._loaded: SessionCache[Session] = SessionCache(budget_mb, _tell_unloaded)
        self._lock = threading.Lock()
        self._failures: dict[Hashable, Failure] = {}
        self._rows: dict[Hashable, int] = {}  # that went well at once, where memory ran out before

    @classmethod
    def open(
        cls, settings: Settings, told: WorkerSettings, found: Hardware | None = None
    ) -> "Models":
        """The models that the environment names, none of them opened yet; ``found`` is what
        ``look`` finds if absent.

        Raises ``DeviceMissing``, ``ArtifactMissing``, ``ArtifactCorrupt`` and ``StoreUnavailable``.
        """
        device = choose_device(
            found or look(),
            allow_cpu=told.allow_cpu,
            memory_mb=told.device_memory_mb,
            cache=(cache := settings.models_dir / TENSORRT_CACHE),
        )
        if device.name == TENSORRT:
            cache.mkdir(parents=True, exist_ok=True)
        weights = read_index(clients.s3(), told.weights) if told.weights else ()
        manifests = (
            [item.manifest for item in weights]
            if told.weights
            else read_manifests(settings.models_dir)
        )
        served = set(filter(None, told.serve.split(",")))
        catalog = Catalog.of(
            manifest for manifest in manifests if not served or manifest.name in served
        )
        telemetry.log("info", "device chosen", device=device.name, models=", ".join(catalog.models))
        # Whatever was fetched was compared with its digest just now.
        opening = _Opening(settings.threads, verify=settings.verify and not told.weights)
        return cls(
            catalog,
            device,
            _fetcher(settings.models_dir, weights),
            opening.open,
            limits=settings.limits,
            budget_mb=told.device_memory_mb,
        )

    def run(
        self, manifest: Manifest, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> dict[str, Array]:
        """Run one version once, in portions where its rows do not fit the device's memory together.

        Raises ``ModelUnavailable`` while its files cannot be had, ``ArtifactError`` where it cannot
        be opened, and what ``Session.run`` raises.
        """
        key = _key(manifest)
        with self._loaded.borrow(key, cost_mb(manifest), lambda: self._open(manifest)) as session:
            if not manifest.max_batch_size:
                return self._run(session, feeds, outputs)
            known = self._rows.get(key, 0)
            answers, rows = run_in_portions(
                feeds,
                known,
                lambda portion: self._run(session, portion, outputs),
                manifest.batch_axis,
            )
            if rows != known:
                self._remember_rows(manifest, rows)
            return answers

    def prefetch(self, manifest: Manifest) -> None:
        """Fetch and open a version ahead of its first job; raises what ``run`` raises for want of a
        session.
        """
        with self._loaded.borrow(_key(manifest), cost_mb(manifest), lambda: self._open(manifest)):
            return

    def _run(
        self, session: Session, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> dict[str, Array]:
        """Run once, and once more where memory that other models hold can be had."""
        try:
            return session.run(feeds, outputs)
        except MemoryExhausted:
            if not self._loaded.drop_idle():
                raise
            return session.run(feeds, outputs)

    def _remember_rows(self, manifest: Manifest, rows: int) -> None:
        """Run no more than so many rows at once until the session is opened anew."""
        telemetry.log(
            "warning",
            "memory ran out",
            model=manifest.name,
            version=manifest.version,
            rows_at_once=rows,
        )
        self._rows[_key(manifest)] = rows

    def _open(self, manifest: Manifest) -> Session:
        """Open a version, unless that failed a short while ago; a failure is remembered."""
        key = _key(manifest)
        self._raise_known(key)
        try:
            session = self._opened(manifest)
        except StoreUnavailable as error:
            away = ModelUnavailable(
                f"model {manifest.name!r} version {manifest.version} cannot be fetched: {error}"
            )
            raise self._remember(manifest, away, AWAY_FOR_S) from error
        except ArtifactError as error:
            self._remember(manifest, error, BROKEN_FOR_S)
            raise
        with self._lock:
            self._failures.pop(key, None)
            self._rows.pop(key, None)
        return session

    def _opened(self, manifest: Manifest) -> Session:
        self._require_fit(manifest)
        try:
            return self._open_once(manifest)
        except ModelTooLarge:
            if not self._loaded.drop_idle():
                raise
        except (
            ArtifactCorrupt
        ) as error:  # such as a file that was damaged between its check and its use
            telemetry.log(
                "warning", "model is tried once more", model=manifest.name, why=str(error)
            )
        return self._open_once(manifest)

    def _open_once(self, manifest: Manifest) -> Session:
        began_s = time.perf_counter()
        folder = self._fetch(manifest)
        fetched_s = time.perf_counter()
        session = self._open_session(folder, manifest, self.device)
        telemetry.log(
            "info",
            "model opened",
            model=manifest.name,
            version=manifest.version,
            device=self.device.name,
            fetch_ms=round((fetched_s - began_s) * 1000, 1),
            load_ms=round((time.perf_counter() - fetched_s) * 1000, 1),
        )
        return session

    def _require_fit(self, manifest: Manifest) -> None:
        """Weights alone above the budget cannot fit; the estimate of all it takes may be wrong, and
        is tried.
        """
        size_mb = manifest.size_bytes / MIB
        if self._budget_mb and size_mb > self._budget_mb:
            raise ModelTooLarge(
                f"model {manifest.name!r} version {manifest.version} has {size_mb:.0f} MB of "
                f"weights, the worker's "
                f"models may take {self._budget_mb} MB of the device; raise "
                f"ONNXLIFT_DEVICE_MEMORY_MB "
                "or take a larger GPU"
            )

    def _raise_known(self, key: Hashable) -> None:
        with self._lock:
            known = self._failures.get(key)
        if known is not None and self._clock() < known.until_s:
            raise _again(known.error)

    def _remember(self, manifest: Manifest, error: OnnxliftError, for_s: float) -> OnnxliftError:
        telemetry.log(
            "error",
            "model not opened",
            model=manifest.name,
            version=manifest.version,
            why=str(error),
        )
        with self._lock:
            self._failures[_key(manifest)] = Failure(error, self._clock() + for_s)
        return error


@dataclass(frozen=True, slots=True)
class _Opening:
    """How sessions are opened."""

    threads: int
    verify: bool

    def open(self, folder: Path, manifest: Manifest, device: Device) -> Session:
        return Session(folder, manifest, threads=self.threads, verify=self.verify, device=device)


def cost_mb(manifest: Manifest) -> float:
    """The expected memory of an open session in MB: its measured peak, or its files if larger."""
    return max(manifest.measurements.peak_memory_mb, manifest.size_bytes / MIB)


def _fetcher(root: Path, weights: Iterable[Weights]) -> Fetch:
    """How a model's folder is had: from S3 where an index names it, else it is below ``root``
    already.
    """
    known = {_key(item.manifest): item for item in weights}

    def fetch_files(manifest: Manifest) -> Path:
        if (found := known.get(_key(manifest))) is not None:
            return fetch(clients.s3(), found, root)
        return root / manifest.name / manifest.version

    return fetch_files


def _key(manifest: Manifest) -> tuple[str, str]:
    return (manifest.name, manifest.version)


def _again(error: OnnxliftError) -> OnnxliftError:
    """A copy of the error: one object raised for many callers would collect their tracebacks."""
    return type(error)(str(error))


def _tell_unloaded(key: Hashable) -> None:
    model, version = key if isinstance(key, tuple) else (str(key), "")
    why = "others need the room"
    telemetry.log("info", "model unloaded", model=model, version=version, why=why)
