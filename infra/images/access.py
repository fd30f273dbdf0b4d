"""What a build needs to reach the package index as this machine does: pip's settings and the
certificates it trusts.

Both go into a build as secrets, which its layers do not keep: the index's address may hold a
password.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SETTINGS: Final = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
CERTIFICATE_VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
MOUNTED: Final = "/run/secrets/certificates"  # where engines put the secret of this name
_LINE: Final = re.compile(r"(?P<scope>[^.]+)\.{1,2}(?P<key>[a-z-]+)='(?P<value>.*)'")


def build_secrets(folder: Path, environ: Mapping[str, str] | None = None) -> dict[str, Path]:
    """Files by the name of their secret, written to ``folder`` or read where they lie; none on a
    plain machine.
    """
    found = pip_settings(_pip_list())
    certificates = _certificates(found, os.environ if environ is None else environ)
    lines = [f"{key} = {value}" for key, value in found.items() if key in SETTINGS]
    if certificates:
        lines.append(f"cert = {MOUNTED}")
    if not lines:
        return {}
    path = folder / "pip.conf"
    path.touch(mode=0o600)  # before there are passwords in it
    path.write_text("\n".join(["[global]", *lines, ""]))
    secrets = {"pip": path}
    if certificates:
        secrets["certificates"] = certificates
    return secrets


def pip_settings(listed: str) -> dict[str, str]:
    """The settings that ``pip config list`` shows, of which the last holds; addresses of local
    folders are left out.
    """
    matches = filter(None, (_LINE.fullmatch(line.strip()) for line in listed.splitlines()))
    found = {match["key"]: _without_folders(match["value"]) for match in matches}
    return {key: value for key, value in found.items() if value}


def _without_folders(addresses: str) -> str:
    return " ".join(address for address in addresses.split() if not address.startswith("file:"))


def _certificates(found: Mapping[str, str], environ: Mapping[str, str]) -> Path | None:
    named = [found.get("cert", ""), *(environ.get(name, "") for name in CERTIFICATE_VARIABLES)]
    return next((path for name in named if name and (path := Path(name)).is_file()), None)


def _pip_list() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    return done.stdout
