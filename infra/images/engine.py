"""The container engine of this machine: docker or podman, whichever answers."""

import os
import resource
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from onnxlift_runtime.errors import ImageFailed, ToolMissing

PROGRAMS: Final = ("docker", "podman")
CHOSEN: Final = "CDK_DOCKER"  # names the one that the CDK uses, so that both use the same
CONTAINERS_CONF: Final = "CONTAINERS_CONF"
# Lambda gives a function 1,024 open files and 1,024 processes and threads.
OPEN_FILES, PROCESSES = 1_024, 1_024
PODMAN_OPEN_FILES: Final = 1_048_576  # what podman asks for where nobody tells it otherwise
ANSWER_TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True)
class ContainerEngine:
    """A program with docker's command line, and what its environment needs beyond this process's
    own.
    """

    program: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str) -> str:
        """What a command prints; raises ``ImageFailed`` with the engine's last words where it
        fails.
        """
        done = self.attempt(*arguments)
        if done.returncode:
            told = (done.stderr.strip() or done.stdout.strip()).splitlines()
            shown = " ".join(arguments[:2])
            raise ImageFailed(
                f"{self.program} {shown} failed: {' / '.join(told[-3:]) or done.returncode}"
            )
        return done.stdout.strip()

    def attempt(
        self, *arguments: str, timeout_s: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command that may fail, with its status and both of its outputs."""
        return subprocess.run(  # noqa: S603
            [self.program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env={**os.environ, **self.environment},
        )

    def has_image(self, name: str) -> bool:
        """Whether an image of this name is on this machine."""
        return self.attempt("image", "inspect", name).returncode == 0


def find_engine(settings_folder: Path) -> ContainerEngine:
    """The engine that ``CDK_DOCKER`` names, or the first that answers; raises ``ToolMissing``.

    ``settings_folder`` is where podman's limits are written, on machines that forbid those it asks
    for by itself.
    """
    silent = []
    chosen = os.environ.get(CHOSEN, "")
    for program in filter(shutil.which, (chosen,) if chosen else PROGRAMS):
        engine = ContainerEngine(program, _environment(program, settings_folder))
        if why := _why_silent(engine):
            silent.append(f"{program} does not answer ({why})")
        else:
            return engine
    wanted = f"{chosen}, which {CHOSEN} names, is not" if chosen else "neither docker nor podman is"
    told = "; ".join(silent) or f"{wanted} on this machine"
    raise ToolMissing(f"{told}; start one, or install podman (Debian: apt-get install podman runc)")


def _why_silent(engine: ContainerEngine) -> str:
    try:
        done = engine.attempt("info", timeout_s=ANSWER_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWER_TIMEOUT_S} s"
    # docker prints its own side, and fails where its server is away.
    return (
        "" if not done.returncode else (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    )


def _environment(program: str, folder: Path) -> dict[str, str]:
    """Limits that podman may set: as root it asks for a million open files, which not every machine
    grants.
    """
    granted = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if Path(program).name != "podman" or os.geteuid() or os.environ.get(CONTAINERS_CONF):
        return {}
    if granted == resource.RLIM_INFINITY or granted >= PODMAN_OPEN_FILES:
        return {}
    path = folder / "containers.conf"
    folder.mkdir(parents=True, exist_ok=True)
    limits = f'"nofile={OPEN_FILES}:{OPEN_FILES}", "nproc={PROCESSES}:{PROCESSES}"'
    path.write_text(
        f'[containers]\ndefault_ulimits = [{limits}]\n[engine]\nevents_logger = "file"\n'
    )
    return {CONTAINERS_CONF: str(path.resolve())}
