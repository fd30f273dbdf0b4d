"""What the headers of a request say about answering it later: whether, how long it may wait, and
where to tell it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from onnxlift_runtime.errors import MalformedRequest
from onnxlift_runtime.jobs.job import DEFAULT_TTL_MS

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
TTL: Final = "X-Onnxlift-Ttl"
WEBHOOK: Final = "X-Onnxlift-Webhook"
MAX_WAIT_S: Final = 25  # API Gateway waits 29 s for the function, which also stores the job
MAX_KEY_CHARACTERS: Final = 255
MAX_WEBHOOK_CHARACTERS: Final = 2_048

# Possessive: between two runs of blanks that may share them, ten thousand blanks would take
# seconds.
_PREFERENCE: Final = re.compile(
    r"\s*+([\w-]++)\s*+(?:=\s*+(?:\"([^\"]*+)\"|([^\s;\"]*+)))?\s*+(?:;.*)?", re.ASCII
)
_WHOLE: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Preference:
    """Whether the caller wants a job instead of an answer, and for how many seconds it waits for
    the job to end.
    """

    job: bool = False
    wait_s: int = 0

    @property
    def applied(self) -> str:
        """The value of ``Preference-Applied`` (RFC 7240, section 3)."""
        return f"respond-async, wait={self.wait_s}" if self.wait_s else "respond-async"


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms on which a caller submits a job: its own key, how long the job may queue, and a
    webhook.
    """

    key: str = ""
    ttl_ms: int = DEFAULT_TTL_MS
    webhook: str = ""


def decode_prefer(header: str) -> Preference:
    """Read ``Prefer`` (RFC 7240, sections 4.1 and 4.3): what is unknown or makes no sense counts as
    not said.
    """
    told: dict[str, str] = {}
    for item in header.split(","):
        if match := _PREFERENCE.fullmatch(item):
            told.setdefault(match[1].lower(), match[2] or match[3] or "")
    wait = told.get("wait", "")
    return Preference(
        "respond-async" in told, min(int(wait), MAX_WAIT_S) if _WHOLE.fullmatch(wait) else 0
    )


def decode_terms(headers: Mapping[str, str]) -> Terms:
    """Read ``Idempotency-Key``, ``X-Onnxlift-Ttl`` (seconds) and ``X-Onnxlift-Webhook`` from
    lower-case headers.

    Raises ``MalformedRequest``.
    """
    key = headers.get(IDEMPOTENCY_KEY.lower(), "").strip()
    if len(key) > MAX_KEY_CHARACTERS:
        raise MalformedRequest(
            f"{IDEMPOTENCY_KEY} has {len(key)} characters, at most {MAX_KEY_CHARACTERS} are taken"
        )
    return Terms(key, _ttl_ms(headers), _webhook(headers))


def _ttl_ms(headers: Mapping[str, str]) -> int:
    text = headers.get(TTL.lower(), "").strip()
    if not text:
        return DEFAULT_TTL_MS
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) * 1000 <= DEFAULT_TTL_MS:
        raise MalformedRequest(
            f"{TTL} is {text[:40]!r}, expected whole seconds from 1 to {DEFAULT_TTL_MS // 1000}"
        )
    return int(text) * 1000


def _webhook(headers: Mapping[str, str]) -> str:
    url = headers.get(WEBHOOK.lower(), "").strip()
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        sound = (
            parts.scheme in {"https", "http"}
            and bool(parts.hostname)
            and not parts.username
            and parts.port != 0
        )
    except ValueError:
        sound = False
    if (
        not sound
        or not url.isascii()
        or not url.isprintable()
        or " " in url
        or len(url) > MAX_WEBHOOK_CHARACTERS
    ):
        raise MalformedRequest(
            f"{WEBHOOK} is {url[:200]!r}, expected an https URL without a user's name"
        )
    return url
