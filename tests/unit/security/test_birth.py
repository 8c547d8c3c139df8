"""The files of a new mesh: what they make, and how a damaged one is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from orbitmesh.core.errors import NotTrusted
from orbitmesh.core.ids import Boot
from orbitmesh.security.birth import ALL_ROLES, NEEDED, Unreadable, born, restored
from orbitmesh.security.home import temporary_device

NOW: Final = datetime(2030, 6, 1, tzinfo=UTC)
Contents = dict[str, bytes]


def test_a_mesh_is_born_with_a_device_that_may_do_all() -> None:
    contents = born("pi", now=NOW)
    device = restored(contents)
    again = restored({name: contents[name] for name in NEEDED})
    assert (device.name, device.roles, device.is_shared_secret) == ("pi", ALL_ROLES, False)
    assert (again.mesh_id, again.node_id("a")) == (device.mesh_id, device.node_id("a"))
    credentials = device.credentials(name="worker", boot=Boot(1), secret_key=None, now=NOW)
    assert again.verify(credentials.chain, key=credentials.public_key, now=NOW).device == "pi"
    assert len(x509.load_pem_x509_certificates(contents["device.crt"])) == 2


def test_a_temporary_device_is_a_mesh_of_its_own() -> None:
    first, second = temporary_device(now=NOW), temporary_device(now=NOW)
    assert first.mesh_id != second.mesh_id
    assert first.roles == ALL_ROLES
    credentials = first.credentials(name="worker", boot=Boot(1), secret_key=None, now=NOW)
    assert first.verify(credentials.chain, key=credentials.public_key, now=NOW).name == "worker"
    with pytest.raises(NotTrusted):
        second.verify(credentials.chain, key=credentials.public_key, now=NOW)


def half(name: str) -> Callable[[Contents, Contents], Contents]:
    return lambda ours, theirs: ours | {name: ours[name][: len(ours[name]) // 2]}


def swapped(name: str) -> Callable[[Contents, Contents], Contents]:
    return lambda ours, theirs: ours | {name: theirs[name]}


def holds(name: str, content: bytes) -> Callable[[Contents, Contents], Contents]:
    return lambda ours, theirs: ours | {name: content}


def key_of_another_kind() -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


DAMAGES: list[tuple[str, Callable[[Contents, Contents], Contents], str]] = [
    ("root.crt", half("root.crt"), "no certificates"),
    ("device.crt", half("device.crt"), "holds 1 certificates|no certificates"),
    ("device.key", half("device.key"), "no key"),
    ("discovery.json", half("discovery.json"), "no list"),
    ("root.crt", holds("root.crt", b""), "no certificates"),
    ("device.crt", holds("device.crt", b"\xff\xfe"), "no certificates"),
    ("device.key", holds("device.key", b"\0"), "no key"),
    ("device.key", holds("device.key", key_of_another_kind()), "no Ed25519 key"),
    ("discovery.json", holds("discovery.json", b"[]"), "no list"),
    ("discovery.json", holds("discovery.json", b"\xff"), "no list"),
    ("discovery.json", holds("discovery.json", b'[{"number":1,"made":"2030-01-01","key":"00"}]'), "no list"),
    ("device.crt", swapped("root.crt"), "does not go with root.crt"),
    ("device.crt", swapped("device.crt"), "does not go with root.crt"),
    ("device.key", swapped("device.key"), "not the key of device.crt"),
    ("device.crt", lambda ours, theirs: ours | {"device.crt": ours["root.crt"]}, "holds 1 certificates"),
]


@pytest.mark.parametrize(("file", "damage", "fault"), DAMAGES, ids=[f"{file}-{fault}" for file, _, fault in DAMAGES])
def test_a_damaged_file_is_named(file: str, damage: Callable[[Contents, Contents], Contents], fault: str) -> None:
    with pytest.raises(Unreadable, match=fault) as found:
        restored(damage(born("pi", now=NOW), born("desk", now=NOW)))
    assert found.value.file == file


def test_a_root_with_a_key_of_another_kind_is_named(ec_certificate: bytes) -> None:
    with pytest.raises(Unreadable, match="no root certificate") as found:
        restored(born("pi", now=NOW) | {"root.crt": ec_certificate})
    assert found.value.file == "root.crt"


@pytest.fixture
def ec_certificate() -> bytes:
    """A self-signed certificate with an EC key, PEM."""
    from cryptography.hazmat.primitives.hashes import SHA256

    key = generate_private_key(SECP256R1())
    name = x509.Name([])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW)
        .sign(key, SHA256())
        .public_bytes(Encoding.PEM)
    )
