"""Webhooks as Standard Webhooks has them (https://www.standardwebhooks.com): signed, and sent to
public addresses only.

The receiver's name is resolved once, every address it has is checked, and the connection is made to
a checked address: a name that answers differently the next time leads nowhere else. Redirects are
not followed. Each caller has a secret of its own, derived from the service's, so that no receiver
can forge another caller's messages.
"""

import base64
import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from onnxlift_runtime.errors import WebhookFailed

# For the whole exchange; Standard Webhooks recommends 15 to 30 s, a job's news need less.
TIMEOUT_S: Final = 10.0
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what a secret starts with
_PORTS: Final = {"https": 443, "http": 80}
# IPv6 addresses that carry an IPv4 address: its own checks decide (RFC 6052 section 2.1).
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Webhook:
    """One message to one receiver; ``id`` is the same in every try, ``timestamp_s`` the time of
    this one.
    """

    url: str
    id: str
    timestamp_s: int
    body: bytes

    def headers(self, secrets: Iterable[bytes]) -> dict[str, str]:
        """The headers, with a signature by each secret: a receiver that knows one of them is
        content.
        """
        signed = b".".join((self.id.encode(), str(self.timestamp_s).encode(), self.body))
        return {
            "Content-Type": "application/json",
            "User-Agent": "onnxlift",
            "webhook-id": self.id,
            "webhook-timestamp": str(self.timestamp_s),
            "webhook-signature": " ".join(f"v1,{_sign(secret, signed)}" for secret in secrets),
        }


def caller_secret(service_secret: str, caller: str) -> bytes:
    """The secret that one caller's webhooks are signed with."""
    return hmac.digest(service_secret.encode(), f"onnxlift webhooks:{caller}".encode(), "sha256")


def encode_secret(secret: bytes) -> str:
    """A secret as libraries for Standard Webhooks take it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode("ascii")


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet: not private, link-local, metadata,
    loopback or reserved.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped or address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        tunneled = address.sixtofour or (address.teredo or (None, None))[1]
        if tunneled is not None and not is_public(tunneled):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def send(webhook: Webhook, secrets: Iterable[bytes], *, private: bool = False) -> None:
    """Deliver a message; ``private`` allows private addresses and plain HTTP. Raises
    ``WebhookFailed``.
    """
    parts = urlsplit(webhook.url)
    if parts.scheme != "https" and not private:
        raise WebhookFailed(f"webhooks go to https addresses, not to {parts.scheme!r}")
    address = _resolve(parts, private=private)
    try:
        status = _post(parts, address, webhook.body, webhook.headers(secrets))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise WebhookFailed(
            f"{parts.hostname} did not answer: {error or type(error).__name__}"
        ) from error
    if not 200 <= status < 300:
        told = "a redirect, which is not followed" if 300 <= status < 400 else "expected 2xx"
        raise WebhookFailed(f"{parts.hostname} answered {status}, {told}")


def _sign(secret: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode("ascii")


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS[parts.scheme]


def _resolve(parts: SplitResult, *, private: bool) -> str:
    """The first address of the receiver, after all of them were checked."""
    try:
        found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookFailed(f"{parts.hostname} has no address: {error}") from error
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    for address in addresses:
        if not private and not is_public(ipaddress.ip_address(address)):
            raise WebhookFailed(f"{parts.hostname} has the address {address}, which is not public")
    return addresses[0]


def _post(parts: SplitResult, address: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Send one request to the checked address and return its status; the answer's body stays
    unread.
    """
    connection = _connect(parts, address)
    # A receiver that sends one byte at a time never runs into the socket's own time limit.
    stop = threading.Timer(TIMEOUT_S, _shut, [connection])
    stop.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, dict(headers))
        return connection.getresponse().status
    finally:
        stop.cancel()
        connection.close()


def _connect(parts: SplitResult, address: str) -> http.client.HTTPConnection:
    """A connection to ``address`` that speaks to, and for https proves to be, the host of the
    URL.
    """
    host = parts.hostname or ""
    raw = socket.create_connection((address, _port(parts)), TIMEOUT_S)
    connection = http.client.HTTPConnection(host, _port(parts), timeout=TIMEOUT_S)
    try:
        secured = parts.scheme == "https"
        connection.sock = (
            ssl.create_default_context().wrap_socket(raw, server_hostname=host) if secured else raw
        )
    except OSError:
        raw.close()
        raise
    if secured:
        connection.default_port = _PORTS["https"]  # so that the Host header leaves it out
    return connection


def _shut(connection: http.client.HTTPConnection) -> None:
    sock = connection.sock
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            sock.close()
