"""What the name of an object below ``in/`` says, and where its answer lies below ``out/``; pure.

``in/<model>/<path>.<extension>`` is one job of the model. Its answer is
``out/<model>/<path>.<extension>`` with a suffix for its kind: ``.json``, ``.npz`` or ``.jsonl``,
and ``.error.json`` where there is none.
"""

from dataclasses import dataclass
from typing import Final

from onnxlift_runtime.errors import MalformedRequest, PayloadTooLarge
from onnxlift_runtime.names import IN_PREFIX, OUT_PREFIX
from onnxlift_runtime.settings import MIB

# How a job's payload is to be read; a payload without this header is one Open Inference Protocol
# request.
FORMAT_HEADER: Final = "x-onnxlift-format"
# The number of the first line of a payload that was cut out of a larger file.
FIRST_LINE_HEADER: Final = "x-onnxlift-first-line"

JSON_LINES: Final = "jsonl"
PARQUET: Final = "parquet"
# By extension: the format, whose words the worker knows.
FORMATS: Final = {
    "npy": "npy",
    "npz": "npz",
    "json": "json",
    "jsonl": JSON_LINES,
    "jpg": "image",
    "jpeg": "image",
    "png": "image",
    "txt": "text",
    "parquet": PARQUET,
}
# Formats of payloads that came over TensorFlow Serving's paths: what is to be done is part of the
# path there.
SERVING_VERBS: Final = ("predict", "classify", "regress")
MAX_OBJECT_BYTES: Final = 64 * MIB
MAX_LINES_BYTES: Final = 1024 * MIB  # SageMaker's limit for one asynchronous payload
# What one part of a file of lines may have: a line takes 1.6 kB and 60 microseconds besides what
# stands in it.
PART_BYTES: Final = MIB // 2
PART_LINES: Final = 65_536

ERROR_SUFFIX: Final = ".error.json"
# By the media type of a job's result.
SUFFIXES: Final = {
    "application/json": ".json",
    "application/x-npz": ".npz",
    "application/x-ndjson": ".jsonl",
}


@dataclass(frozen=True, slots=True)
class Dropped:
    """One version of one object below ``in/``; ``order`` grows with every version of the same
    key.
    """

    bucket: str
    key: str
    size_bytes: int
    version: str = ""
    order: str = ""
    mark: str = ""

    @property
    def identity(self) -> str:
        """The same for every delivery of the same event, and another for every other version or
        object.
        """
        return f"{self.bucket}/{self.key}#{self.version or self.order}{self.mark}"

    @property
    def model(self) -> str:
        """The model that the key names, "" where it names none."""
        model, slash, _ = self.key.removeprefix(IN_PREFIX).partition("/")
        return model if slash else ""

    @property
    def output_key(self) -> str:
        """Where the answer lies, without its suffix."""
        return OUT_PREFIX + self.key.removeprefix(IN_PREFIX)

    @property
    def is_folder(self) -> bool:
        """Whether this is what a console writes for a folder, and no input."""
        return self.key.endswith("/") and not self.size_bytes

    @property
    def format(self) -> str:
        """How the object is to be read; raises ``MalformedRequest`` where its extension does not
        say.
        """
        _, dot, extension = self.key.rpartition("/")[2].rpartition(".")
        if not dot or extension.lower() not in FORMATS:
            known = ", ".join("." + name for name in FORMATS)
            raise MalformedRequest(
                f"object {self.key!r} has none of the extensions that are read: {known}"
            )
        return FORMATS[extension.lower()]

    def check(self) -> None:
        """Refuse what no worker could read; raises ``MalformedRequest`` and ``PayloadTooLarge``."""
        if not self.model:
            raise MalformedRequest(
                f"object {self.key!r} names no model, expected {IN_PREFIX}<model>/<name>"
            )
        check_size(self.key, self.format, self.size_bytes)


def check_size(key: str, word: str, size_bytes: int) -> None:
    """Refuse an object of format ``word`` that is empty or too large to read."""
    limit = MAX_LINES_BYTES if word == JSON_LINES else MAX_OBJECT_BYTES
    if size_bytes > limit:
        raise PayloadTooLarge(f"object {key!r} has {size_bytes} bytes, at most {limit} are read")
    if not size_bytes:
        raise MalformedRequest(f"object {key!r} is empty")


def is_split(word: str, size_bytes: int) -> bool:
    """Whether an object of format ``word`` is answered in parts."""
    return word == JSON_LINES and size_bytes > PART_BYTES
