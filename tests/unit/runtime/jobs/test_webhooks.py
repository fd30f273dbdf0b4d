"""Signatures against the specification's own example, addresses against every kind, and real
servers on loopback.
"""

import base64
import hashlib
import hmac
import ipaddress
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from onnxlift_runtime.errors import WebhookFailed
from onnxlift_runtime.jobs import webhooks
from onnxlift_runtime.jobs.webhooks import Webhook, caller_secret, encode_secret, is_public, send
from tests.support.errors import raises


@dataclass
class Receiver:
    """A server on this machine that remembers what came and answers with one status."""

    url: str
    status: list[int]
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    status = [204]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            told.came.append(
                ({name.lower(): value for name, value in self.headers.items()}, content)
            )
            self.send_response(status[0])
            self.send_header("Location", "http://169.254.169.254/")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        told = Receiver(f"http://127.0.0.1:{server.server_port}/hook?a=1", status)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield told
        server.shutdown()
        thread.join()


def message(url: str) -> Webhook:
    return Webhook(url, "msg_1", 1_700_000_000, b'{"type":"x"}')


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kinds: found)


def test_a_message_is_signed_as_the_specification_says() -> None:
    key = b"0123456789abcdef0123456789abcdef"

    headers = message("https://example.com").headers([key])

    signed = b'msg_1.1700000000.{"type":"x"}'
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", "1700000000")


def test_a_rotation_signs_with_both_secrets() -> None:
    assert (
        message("https://example.com").headers([b"new", b"old"])["webhook-signature"].count("v1,")
        == 2
    )


def test_each_caller_has_a_secret_of_its_own() -> None:
    mine, yours = caller_secret("service", "key:me"), caller_secret("service", "key:you")

    assert mine != yours
    assert base64.b64decode(encode_secret(mine).removeprefix("whsec_")) == mine
    assert len(mine) == 32


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "169.254.170.2",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:169.254.169.254",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    ],
)
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"]
)
def test_an_address_outside_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "addresses", [["169.254.169.254"], ["1.1.1.1", "10.0.0.1"], ["::ffff:127.0.0.1"]]
)
def test_a_name_with_any_private_address_is_not_called(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    resolve_to(monkeypatch, *addresses)
    monkeypatch.setattr(socket, "create_connection", pytest.fail)

    with raises(WebhookFailed, "public"):
        send(message("https://receiver.example/hook"), [b"k"])


def test_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[tuple[str, int]] = []

    def connect(place: tuple[str, int], _timeout_s: float) -> socket.socket:
        called.append(place)
        raise OSError("stop here")

    resolve_to(monkeypatch, "1.1.1.1")
    monkeypatch.setattr(socket, "create_connection", connect)

    with raises(WebhookFailed, "stop here"):
        send(message("https://receiver.example/hook"), [b"k"])
    assert called == [("1.1.1.1", 443)]


@pytest.mark.parametrize(
    "url", ["http://1.1.1.1/", "https://127.0.0.1/", "https://[::1]:8443/x", "https://2130706433/"]
)
def test_a_receiver_inside_or_without_tls_is_refused(url: str) -> None:
    with pytest.raises(WebhookFailed):
        send(message(url), [b"k"])


def test_a_message_arrives_whole_where_private_addresses_are_allowed(receiver: Receiver) -> None:
    send(message(receiver.url), [b"k"], private=True)

    ((headers, content),) = receiver.came
    assert content == b'{"type":"x"}'
    assert headers["webhook-id"] == "msg_1"
    assert headers["host"] == receiver.url.split("/")[2]


@pytest.mark.parametrize(
    ("status", "data"), [(500, (500,)), (410, (410,)), (302, (302, "redirect"))]
)
def test_any_other_answer_has_failed_and_no_redirect_is_followed(
    receiver: Receiver, status: int, data: tuple[object, ...]
) -> None:
    receiver.status[0] = status

    with raises(WebhookFailed, *data):
        send(message(receiver.url), [b"k"], private=True)
    assert len(receiver.came) == 1


def test_a_receiver_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"

        with raises(WebhookFailed, "did not answer"):
            send(message(url), [b"k"], private=True)


def test_a_receiver_that_never_finishes_its_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.2)
    over = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while not over.wait(0.02):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=[server])
        thread.start()
        try:
            with raises(WebhookFailed, "did not answer"):
                send(message(f"http://127.0.0.1:{server.getsockname()[1]}/"), [b"k"], private=True)
        finally:
            over.set()
            thread.join()


def test_a_name_that_does_not_resolve_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kinds: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    with raises(WebhookFailed, "nowhere.invalid", "no address"):
        send(message("https://nowhere.invalid/"), [b"k"])
