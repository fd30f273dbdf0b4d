"""How a build reaches the package index as this machine does."""

from pathlib import Path

import pytest

from infra.images import access
from infra.images.access import build_secrets, pip_settings


def test_pip_settings_are_read_from_files_and_environment() -> None:
    listed = ":env:.default-timeout='180'\nglobal.index-url='https://one.example/simple'\n:env:.cert='/etc/ca.crt'\n"

    found = pip_settings(listed)

    assert found == {
        "default-timeout": "180",
        "index-url": "https://one.example/simple",
        "cert": "/etc/ca.crt",
    }


def test_addresses_of_local_folders_are_left_out_because_a_build_cannot_see_them() -> None:
    listed = (
        "global.extra-index-url='file:///opt/one "
        "https://two.example/simple'\nglobal.index-url='file:///opt/one'\n"
    )

    assert pip_settings(listed) == {"extra-index-url": "https://two.example/simple"}


def test_secrets_are_pips_settings_and_the_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = tmp_path / "ca.crt"
    certificates.touch()
    monkeypatch.setattr(
        access, "_pip_list", lambda: "global.index-url='https://user:word@one.example/simple'\n"
    )

    secrets = build_secrets(tmp_path, {"SSL_CERT_FILE": str(certificates)})

    assert secrets == {"pip": tmp_path / "pip.conf", "certificates": certificates}
    assert secrets["pip"].read_text() == (
        "[global]\nindex-url = https://user:word@one.example/simple\ncert = "
        "/run/secrets/certificates\n"
    )
    assert secrets["pip"].stat().st_mode & 0o077 == 0


def test_a_plain_machine_has_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_pip_list", lambda: ":env:.disable-pip-version-check='1'\n")

    assert build_secrets(tmp_path, {"SSL_CERT_FILE": str(tmp_path / "absent.crt")}) == {}
    assert list(tmp_path.iterdir()) == []
