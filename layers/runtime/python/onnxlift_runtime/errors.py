"""Every error that onnxlift raises on purpose, in one tree.

::

    OnnxliftError
    ├── RequestError
    │   ├── MalformedRequest
    │   ├── InputMismatch
    │   │   ├── DatatypeMismatch
    │   │   ├── ShapeMismatch
    │   │   └── ValueOutOfRange
    │   ├── NotFound
    │   │   ├── PathNotFound
    │   │   ├── ModelNotFound
    │   │   ├── VersionNotFound
    │   │   └── JobNotFound
    │   ├── JobConflict
    │   ├── MethodNotAllowed
    │   ├── PayloadTooLarge
    │   └── UnsupportedEncoding
    ├── ModelUnavailable
    ├── InferenceFailed
    │   └── MemoryExhausted
    ├── DeviceMissing
    ├── LeaseLost
    ├── StoreUnavailable
    ├── WebhookFailed
    ├── ArtifactError
    │   ├── ArtifactMissing
    │   ├── ArtifactCorrupt
    │   └── ModelTooLarge
    └── BuildError
        ├── ConfigInvalid
        ├── ModelRefused
        ├── SamplesInvalid
        ├── RecipeInvalid
        ├── QualityGateFailed
        ├── PlacementImpossible
        ├── ToolMissing
        ├── ImageFailed
        ├── ServiceUnreachable
        └── ServiceRefused

``status`` is the HTTP status an API caller sees, ``retryable`` says whether the same request may
succeed later. Errors are translated at three edges only: the HTTP answer, the worker, and the
command line. A message says what, which, and what was expected.
"""

from typing import ClassVar, Final

RETRY_AFTER_S: Final = 2
MAX_MESSAGE_CHARACTERS: Final = 1_000


class OnnxliftError(Exception):
    """Any error that onnxlift raises on purpose."""

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that belong to the answer: ``Retry-After`` where it is worth another try."""
        return {"Retry-After": str(RETRY_AFTER_S)} if self.retryable else {}


class RequestError(OnnxliftError):
    """The caller's request cannot be answered as it stands."""

    status = 400

    def __str__(self) -> str:
        # It repeats the caller's own words, which can be as long as the body: no record of a job
        # would take them.
        told = super().__str__()
        return told if len(told) <= MAX_MESSAGE_CHARACTERS else told[:MAX_MESSAGE_CHARACTERS] + "…"


class MalformedRequest(RequestError):
    """The body or a header breaks the protocol."""


class InputMismatch(RequestError):
    """An input or output does not fit what the model declares."""


class DatatypeMismatch(InputMismatch):
    """An input has another datatype than the model takes."""


class ShapeMismatch(InputMismatch):
    """An input's shape does not fit the model, or its data does not fit its shape."""


class ValueOutOfRange(InputMismatch):
    """A value cannot be represented in the input's datatype."""


class NotFound(RequestError):
    """What the request names does not exist."""

    status = 404


class PathNotFound(NotFound):
    """No endpoint has this path."""


class ModelNotFound(NotFound):
    """No model has this name."""


class VersionNotFound(NotFound):
    """The model has no such version or label."""


class JobNotFound(NotFound):
    """No job of this caller has this id."""


class JobConflict(RequestError):
    """The job's state, or an earlier request under the same key, does not allow this."""

    status = 409


class MethodNotAllowed(RequestError):
    """The path exists, with another HTTP method."""

    status = 405

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"method {method} is not allowed here; allowed: {', '.join(allowed)}")
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": ", ".join(self.allowed)}


class PayloadTooLarge(RequestError):
    """The request, or the answer to it, is larger than the transport carries."""

    status = 413


class UnsupportedEncoding(RequestError):
    """The body is compressed in a way this server does not read."""

    status = 415

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept-Encoding": "gzip, deflate"}  # RFC 9110 section 15.5.16


class ModelUnavailable(OnnxliftError):
    """The model exists and cannot answer yet."""

    status = 503
    retryable = True

    def __init__(self, message: str, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class InferenceFailed(OnnxliftError):
    """The model itself failed on an input that fits its declaration."""


class MemoryExhausted(InferenceFailed):
    """An inference needs more memory than there is, even for one row."""


class DeviceMissing(OnnxliftError):
    """There is no GPU that works, and the worker may not do without."""

    status = 503
    retryable = True


class LeaseLost(OnnxliftError):
    """A worker finishes a job that is no longer its own; what it computed is dropped."""

    status = 409


class StoreUnavailable(OnnxliftError):
    """The table, the bucket or a queue did not answer."""

    status = 503
    retryable = True


class WebhookFailed(OnnxliftError):
    """A webhook's receiver could not be reached, may not be, or did not accept the message."""

    status = 502
    retryable = True


class ArtifactError(OnnxliftError):
    """An artifact cannot be used."""


class ArtifactMissing(ArtifactError):
    """The folder, the manifest or a file it names is not there."""


class ArtifactCorrupt(ArtifactError):
    """The manifest or a file's bytes are not what was written at build time."""


class ModelTooLarge(ArtifactError):
    """The model fits the device's memory, or the worker's disk, not even alone."""


class BuildError(OnnxliftError):
    """Something on the laptop's side stops: configuration, compression, placement or a client
    call.
    """


class ConfigInvalid(BuildError):
    """The configuration file has a value that is not allowed."""


class ModelRefused(BuildError):
    """The model file is broken, foreign or unsafe to read."""


class SamplesInvalid(BuildError):
    """The calibration or held-out samples do not fit the model."""


class RecipeInvalid(BuildError):
    """The recipe does not exist or cannot be applied to this model."""


class QualityGateFailed(BuildError):
    """No recipe keeps the model within the allowed quality drop."""


class PlacementImpossible(BuildError):
    """The model fits neither where the user wants it nor anywhere else."""


class ToolMissing(BuildError):
    """A program that a command needs is not on this machine and cannot be installed."""


class ImageFailed(BuildError):
    """A container image cannot be had, built or run."""


class ServiceUnreachable(BuildError):
    """A client call found no server, or an answer that is not the protocol's."""


class ServiceRefused(BuildError):
    """The service answered a client call with an error; the message carries its own words."""

    def __init__(self, answered: int, why: str) -> None:
        super().__init__(f"the service answered {answered}: {why}")
        self.answered = answered
