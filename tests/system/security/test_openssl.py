"""Our certificates are plain X.509: what everybody has reads and verifies them."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from orbitmesh.core.ids import Boot
from orbitmesh.security.device import Device
from orbitmesh.security.home import open_device, shared_secret_device

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not here")


def openssl(*arguments: str | Path) -> str:
    assert OPENSSL is not None
    done = subprocess.run([OPENSSL, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def node_certificate(device: Device, path: Path) -> Path:
    credentials = device.credentials(name="worker-2", boot=Boot(4711), secret_key=None, now=datetime.now(UTC))
    pem = [x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in credentials.chain]
    path.write_bytes(pem[0])
    path.with_suffix(".chain").write_bytes(b"".join(pem[1:]))
    return path


def test_openssl_verifies_the_chain_in_the_home(home: Path, tmp_path: Path) -> None:
    node = node_certificate(open_device(home, now=datetime.now(UTC)), tmp_path / "node.crt")
    root, device = home / "mesh" / "root.crt", home / "mesh" / "device.crt"
    assert "node.crt: OK" in openssl("verify", "-x509_strict", "-CAfile", root, "-untrusted", device, node)
    assert "device.crt: OK" in openssl("verify", "-x509_strict", "-CAfile", root, "-untrusted", device, device)


def test_openssl_shows_who_a_node_is(home: Path, tmp_path: Path) -> None:
    device = open_device(home, now=datetime.now(UTC))
    text = openssl("x509", "-noout", "-text", "-in", node_certificate(device, tmp_path / "node.crt"))
    for shown in (
        f"URI:orbitmesh://{device.mesh_id}/{device.name}/worker-2",
        "CN = worker-2",
        "X25519",
        "ED25519",
        "CA:FALSE",
        "admin,agent,operator,owner",
        device.node_id("worker-2"),
        "4711",
    ):
        assert shown in text


def test_openssl_reads_the_keys_of_the_home(home: Path) -> None:
    open_device(home, now=datetime.now(UTC))
    for name in ("root", "admin", "device"):
        key, certificate = home / "mesh" / f"{name}.key", home / "mesh" / f"{name}.crt"
        assert openssl("pkey", "-in", key, "-pubout") == openssl("x509", "-in", certificate, "-noout", "-pubkey")


def test_openssl_verifies_one_holder_of_a_secret_under_the_root_of_another(tmp_path: Path) -> None:
    secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
    here, there = (shared_secret_device(tmp_path / name, secret, now=now) for name in ("here", "there"))
    node = node_certificate(here, tmp_path / "node.crt")
    root = tmp_path / "root.crt"
    root.write_bytes(x509.load_der_x509_certificate(there._root).public_bytes(Encoding.PEM))
    chain = node.with_suffix(".chain")
    assert "OK" in openssl("verify", "-x509_strict", "-CAfile", root, "-untrusted", chain, node)
