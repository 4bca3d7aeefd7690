"""Certificates for tests, made by openssl."""

import shutil
import subprocess
from pathlib import Path

import pytest

OPENSSL = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


def make_certificates(home: Path, *names: str) -> None:
    """An authority, `ca.pem`, and certificates of it for 127.0.0.1: `NAME.pem` and `NAME.key`."""
    home.mkdir(parents=True, exist_ok=True)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=home, check=True, capture_output=True)

    # Python 3.13 and newer want the key's usage and its authority to be stated.
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(
        "req", "-x509", *key, *usage, "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem"
    )
    (home / "names").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    for name in names:
        openssl("req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "names", "-out", f"{name}.pem")  # fmt: skip
