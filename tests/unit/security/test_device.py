"""What a device makes for its nodes, and what it never tells."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import Boot, is_node_id
from orbitmesh.security.certificates import DEVICE_LIFE, NODE_LIFE, device_certificate
from orbitmesh.security.keys import link_public, signing_public

if TYPE_CHECKING:
    from tests.unit.security.conftest import OpenMesh


def test_node_ids_stand_on_device_key_and_name_alone(mesh: OpenMesh, other_mesh: OpenMesh) -> None:
    pi = mesh.device("pi")
    ids = {pi.node_id("worker"), pi.node_id("worker-2"), mesh.device("desk").node_id("worker")}
    assert len(ids) == 3
    assert all(map(is_node_id, ids))
    other_mesh.secrets["pi"] = mesh.secrets["pi"]
    assert other_mesh.device("pi").node_id("worker") == pi.node_id("worker")


def test_a_kept_secret_makes_the_same_key_and_none_makes_a_fresh_one(mesh: OpenMesh) -> None:
    pi = mesh.device("pi")
    kept = [pi.credentials(name="a", boot=Boot(1), secret_key=mesh.link_secret, now=mesh.now) for _ in range(2)]
    fresh = [pi.credentials(name="a", boot=Boot(1), secret_key=None, now=mesh.now) for _ in range(2)]
    assert {credentials.public_key for credentials in kept} == {mesh.link_key}
    assert len({credentials.public_key for credentials in fresh}) == 2
    for credentials in kept + fresh:
        assert credentials.public_key == link_public(credentials.secret_key)
        assert (credentials.device, credentials.roles) == ("pi", pi.roles)


def test_a_node_certificate_lives_for_days_and_never_longer_than_its_device(mesh: OpenMesh) -> None:
    pi = mesh.device("pi")
    last_day = mesh.now + DEVICE_LIFE - timedelta(days=1)
    for now, ends in ((mesh.now, mesh.now + NODE_LIFE), (last_day, mesh.now + DEVICE_LIFE)):
        node = pi.credentials(name="a", boot=Boot(1), secret_key=None, now=now).chain[0]
        assert x509.load_der_x509_certificate(node).not_valid_after_utc == ends


def test_an_ended_certificate_or_a_wrong_clock_is_said_at_the_start(mesh: OpenMesh) -> None:
    pi = mesh.device("pi")
    for now, reason in (
        (mesh.now + DEVICE_LIFE + timedelta(seconds=1), "ended at"),
        (mesh.now - timedelta(days=2), "set the clock"),
    ):
        with pytest.raises(ConfigError, match=reason):
            pi.credentials(name="a", boot=Boot(1), secret_key=None, now=now)


@pytest.mark.parametrize(
    ("name", "boot", "secret", "reason"),
    [
        ("a/b", 1, None, "node name 'a/b'"),
        ("", 1, None, "node name"),
        ("a", -1, None, "boot -1"),
        ("a", 2**53, None, "boot"),
        ("a", 1, b"short", "5 bytes"),
    ],
)
def test_credentials_of_malformed_parts_are_refused(
    mesh: OpenMesh, name: str, boot: int, secret: bytes | None, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        mesh.device("pi").credentials(name=name, boot=Boot(boot), secret_key=secret, now=mesh.now)


@pytest.mark.parametrize("roles", [["a,b"], [""], [f"r{number}" for number in range(33)]])
def test_roles_that_cannot_be_certified_are_refused(mesh: OpenMesh, roles: list[str]) -> None:
    with pytest.raises(ConfigError, match="role"):
        device_certificate(
            signing_public(mesh.link_secret),
            issuer=mesh.admin,
            issuer_secret=mesh.admin_secret,
            device="pi",
            roles=roles,
            now=mesh.now,
        )


def test_nothing_secret_shows_in_what_is_printed(mesh: OpenMesh) -> None:
    pi = mesh.device("pi")
    credentials = pi.credentials(name="a", boot=Boot(1), secret_key=mesh.link_secret, now=mesh.now)
    shown = f"{pi!r} {credentials!r} {mesh.discovery!r}"
    secrets = [mesh.secrets["pi"], mesh.link_secret, mesh.discovery[0].key]
    for secret in secrets:
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    assert repr(pi) == f"<Device pi of mesh {mesh.mesh_id}>"


def test_importing_a_device_loads_no_cryptography() -> None:
    code = (
        "import sys, orbitmesh.security.device, orbitmesh.security.home, orbitmesh.security.nodes; "
        "print(any(name.partition('.')[0] == 'cryptography' for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
