"""The address of a local service, and what is told where it cannot be had."""

import socket

import pytest

from onnxlift.local.server import listen
from onnxlift_runtime.errors import ConfigInvalid


@pytest.mark.parametrize("host", ["a..b", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_told_as_such(host: str) -> None:
    with pytest.raises(ConfigInvalid) as told:
        listen(host, 0)

    assert str(told.value).startswith(f"cannot listen on {host} port 0: ")
    assert str(told.value).endswith("; --host takes an address of this machine")
    assert "Errno" not in str(told.value)


def test_a_port_that_is_taken_is_told_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigInvalid) as told:
        listen("127.0.0.1", taken.getsockname()[1])

    assert str(told.value).endswith(
        "Address already in use; choose another --port, or 0 for any free one"
    )
