"""What is shipped, file by file: nothing reaches an image, a zip or a layer that is not listed
here.
"""

import shutil
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import Final

from infra.models import DeployedModel
from onnxlift_runtime.errors import ConfigInvalid
from onnxlift_runtime.manifest import MANIFEST_NAME

Files = Mapping[str, Path]

DOCKERFILE: Final = "handlers/Dockerfile"
WORKER_DOCKERFILE: Final = "gpu_fallback/Dockerfile"
SHIPPED_MODELS: Final = "models"  # where the zips keep the manifests
_RUNTIME: Final = "layers/runtime/python/onnxlift_runtime"
_SLIM: Final = "infra/images/slim.py"
# What the layer has of each package: patterns of modules, pure Python all of them.
SHIPPED_PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "aws-lambda-powertools": (
        *(
            f"aws_lambda_powertools/{name}/*.py"
            for name in ("exceptions", "logging", "metrics", "shared", "tracing")
        ),
        *(
            f"aws_lambda_powertools/{name}.py"
            for name in ("__init__", "package_logger", "utilities/__init__")
        ),
        "aws_lambda_powertools/utilities/jmespath_utils/*.py",
        "aws_lambda_powertools/warnings/*.py",
    ),
    "jmespath": ("jmespath/*.py",),
    "typing-extensions": ("typing_extensions.py",),
}


def image_files(root: Path, model: DeployedModel) -> Files:
    """The build context of a model's image, laid out as in the repository: path there → file
    here.
    """
    functions = ("handlers/__init__.py", "handlers/predict.py", "handlers/batch.py")
    named = (DOCKERFILE, *functions, "requirements/runtime.txt", _SLIM)
    artifacts = {
        f"artifacts/{model.name}/{manifest.version}/{name}": model.folder / manifest.version / name
        for manifest in model.manifests
        for name in (MANIFEST_NAME, *(entry.path for entry in manifest.files))
    }
    return {
        **{name: root / name for name in named},
        **_modules(root / _RUNTIME, _RUNTIME),
        **artifacts,
    }


def worker_files(root: Path) -> Files:
    """The build context of the GPU worker's image, which has no model inside: it fetches them."""
    named = (WORKER_DOCKERFILE, "requirements/gpu.txt", _SLIM)
    return {
        **{name: root / name for name in named},
        **_modules(root / _RUNTIME, _RUNTIME),
        **_modules(root / "gpu_fallback", "gpu_fallback"),
    }


def accelerated_files(root: Path, model: DeployedModel) -> Files:
    """The build context of a model's function with a GPU: as without one, but for what computes."""
    return {**image_files(root, model), "requirements/runtime.txt": root / "requirements/gpu.txt"}


def zip_files(root: Path, function: str, models: Iterable[DeployedModel]) -> Files:
    """The zip of a function: itself, and what it must know about the models."""
    manifests = {
        f"{SHIPPED_MODELS}/{model.name}/{manifest.version}/{MANIFEST_NAME}": model.folder
        / manifest.version
        / MANIFEST_NAME
        for model in models
        for manifest in model.manifests
    }
    named = ("handlers/__init__.py", f"handlers/{function}.py")
    return {**{name: root / name for name in named}, **manifests}


def layer_files(root: Path) -> Files:
    """What the layer of the zip functions has of ours: the runtime, where Lambda's Python looks for
    it.
    """
    return _modules(root / _RUNTIME, "python/onnxlift_runtime")


def library_files() -> Files:
    """What the layer has of others', beside the runtime: modules that are installed here in the
    version of the lock.

    Raises ``ConfigInvalid`` where a package is not installed, or has nothing of what is shipped of
    it.
    """
    return {
        name: path for package in SHIPPED_PACKAGES for name, path in _package_files(package).items()
    }


def link_files(files: Files, folder: Path) -> str:
    """Lay ``files`` out below ``folder`` as links, which the CDK follows when it copies; returns
    the folder.
    """
    for name, source in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source.resolve(strict=True))
    return str(folder)


def copy_files(files: Files, folder: Path) -> Path:
    """Lay ``files`` out below ``folder`` as copies, because container engines follow no links;
    returns it.
    """
    for name, source in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, place)
    return folder


def _package_files(package: str) -> Files:
    """The modules of an installed package that are shipped, and its licence; the lock files say
    which version it is.
    """
    try:
        files = distribution(package).files or []
    except PackageNotFoundError as error:
        raise ConfigInvalid(
            f"package {package} is not installed; run `make setup`, or install it"
        ) from error
    found = {
        file.as_posix(): Path(str(file.locate()))
        for file in files
        if _is_shipped(file, SHIPPED_PACKAGES[package])
    }
    if not found:
        raise ConfigInvalid(f"package {package} has none of {', '.join(SHIPPED_PACKAGES[package])}")
    return {f"python/{name}": path for name, path in found.items()}


def _is_shipped(file: PurePosixPath, patterns: Iterable[str]) -> bool:
    licence = file.parts[0].endswith(".dist-info") and "LICENSE" in file.name
    return licence or any(fnmatchcase(file.as_posix(), pattern) for pattern in patterns)


def _modules(folder: Path, place: str) -> dict[str, Path]:
    return {
        f"{place}/{path.relative_to(folder).as_posix()}": path
        for path in sorted(folder.rglob("*.py"))
    }
