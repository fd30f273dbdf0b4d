"""All models of one process: opened once, asked by name and version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

from onnxlift_runtime import telemetry
from onnxlift_runtime.catalog import Catalog
from onnxlift_runtime.dataplane.session import Session
from onnxlift_runtime.errors import ArtifactError, ModelUnavailable
from onnxlift_runtime.manifest import Manifest, read_manifests
from onnxlift_runtime.names import LAMBDA
from onnxlift_runtime.settings import Limits, Settings
from onnxlift_runtime.tensors.arrays import Array


@dataclass(frozen=True, slots=True)
class Engine:
    """The catalog, a session for every version that could be opened, and for the others why not."""

    catalog: Catalog
    sessions: Mapping[tuple[str, str], Session]
    failures: Mapping[tuple[str, str], str]
    limits: Limits

    @classmethod
    def open(cls, settings: Settings, limits: Limits | None = None) -> "Engine":
        """Open every version below ``settings.models_dir``; a version that cannot be opened leaves
        the others alone.

        Models that run on GPU workers alone are left to them; a function that has no others is such
        a worker itself.
        """
        found = read_manifests(settings.models_dir)
        ours = [manifest for manifest in found if LAMBDA in settings.tiers_of(manifest.name)]
        catalog = Catalog.of(ours or found)
        sessions: dict[tuple[str, str], Session] = {}
        failures: dict[tuple[str, str], str] = {}
        for manifest in catalog:
            key = (manifest.name, manifest.version)
            try:
                sessions[key] = _open(manifest, settings)
            except ArtifactError as error:
                failures[key] = str(error)
                telemetry.log(
                    "error",
                    "model not opened",
                    model=manifest.name,
                    version=manifest.version,
                    why=str(error),
                )
        return cls(catalog, sessions, failures, limits or settings.limits)

    def session(self, manifest: Manifest) -> Session:
        """The open session of a version; raises ``ModelUnavailable`` with the reason where there is
        none.
        """
        key = (manifest.name, manifest.version)
        if key not in self.sessions:
            why = self.failures.get(key, "it is not loaded")
            raise ModelUnavailable(
                f"model {manifest.name!r} version {manifest.version} cannot serve: {why}"
            )
        return self.sessions[key]

    def prefetch(self, manifest: Manifest) -> None:
        """Nothing to be done: a version is open already, or raises ``ModelUnavailable``."""
        self.session(manifest)

    def run(
        self, manifest: Manifest, feeds: Mapping[str, Array], outputs: Sequence[str]
    ) -> dict[str, Array]:
        """Run one version once; raises what ``session`` and ``Session.run`` raise."""
        return self.session(manifest).run(feeds, outputs)


def _open(manifest: Manifest, settings: Settings) -> Session:
    started = perf_counter()
    folder = settings.models_dir / manifest.name / manifest.version
    session = Session(folder, manifest, threads=settings.threads, verify=settings.verify)
    load_ms = round((perf_counter() - started) * 1000, 1)
    telemetry.log(
        "info", "model opened", model=manifest.name, version=manifest.version, load_ms=load_ms
    )
    return session
