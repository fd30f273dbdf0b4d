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

``status`` is the HTTP status of the answer. ``retryable`` says whether the same request may succeed
later. Errors are translated at three edges only: the HTTP answer, the worker, and the
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
        """HTTP headers of the answer: ``Retry-After`` if a retry may succeed."""
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
    """An input's datatype differs from the model's."""


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
    """The job's state, or an earlier request with the same key, does not allow this."""

    status = 409


class MethodNotAllowed(RequestError):
    """The path exists, but not with this HTTP method."""

    status = 405

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"method {method} is not allowed here; allowed: {', '.join(allowed)}")
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": ", ".join(self.allowed)}


class PayloadTooLarge(RequestError):
    """The request or its answer exceeds a size limit."""

    status = 413


class UnsupportedEncoding(RequestError):
    """The body's compression is not supported."""

    status = 415

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept-Encoding": "gzip, deflate"}  # RFC 9110 section 15.5.16


class ModelUnavailable(OnnxliftError):
    """The model exists but cannot answer yet."""

    status = 503
    retryable = True

    def __init__(self, message: str, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class InferenceFailed(OnnxliftError):
    """The model failed on a valid input."""


class MemoryExhausted(InferenceFailed):
    """An inference runs out of memory even for one row."""


class DeviceMissing(OnnxliftError):
    """No usable GPU, and CPU fallback is disabled."""

    status = 503
    retryable = True


class LeaseLost(OnnxliftError):
    """The worker's lease on a job has ended; its result is dropped."""

    status = 409


class StoreUnavailable(OnnxliftError):
    """The table, the bucket or a queue does not answer."""

    status = 503
    retryable = True


class WebhookFailed(OnnxliftError):
    """A webhook's receiver is unreachable, forbidden, or does not accept the message."""

    status = 502
    retryable = True


class ArtifactError(OnnxliftError):
    """An artifact cannot be used."""


class ArtifactMissing(ArtifactError):
    """The folder, the manifest or a file that it names is missing."""


class ArtifactCorrupt(ArtifactError):
    """The manifest or a file differs from what was written at build time."""


class ModelTooLarge(ArtifactError):
    """The model does not fit the device's memory or the worker's disk, even alone."""


class BuildError(OnnxliftError):
    """A command fails: configuration, compression, placement or a client call."""


class ConfigInvalid(BuildError):
    """The configuration file has an invalid key or value."""


class ModelRefused(BuildError):
    """The model file is damaged, of another format, or unsafe to read."""


class SamplesInvalid(BuildError):
    """The calibration or held-out samples do not fit the model."""


class RecipeInvalid(BuildError):
    """The recipe does not exist or cannot be applied to this model."""


class QualityGateFailed(BuildError):
    """No recipe keeps the model within the allowed quality drop."""


class PlacementImpossible(BuildError):
    """The model does not fit where the user wants it, or fits nowhere."""


class ToolMissing(BuildError):
    """A command needs a program that is missing and cannot be installed."""


class ImageFailed(BuildError):
    """A container image cannot be fetched, built or run."""


class ServiceUnreachable(BuildError):
    """A client call finds no server, or gets an answer outside the protocol."""


class ServiceRefused(BuildError):
    """The service answers a client call with an error; the message quotes it."""

    def __init__(self, answered: int, why: str) -> None:
        super().__init__(f"the service answered {answered}: {why}")
        self.answered = answered
