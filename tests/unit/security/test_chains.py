"""Chains of certificates: whom they prove, for how long, and that no bytes do harm."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbitmesh.core.errors import NotTrusted
from orbitmesh.core.ids import Boot
from orbitmesh.security import device as device_module
from orbitmesh.security.certificates import (
    DEVICE_LIFE,
    intermediate_certificate,
    root_certificate,
)
from orbitmesh.security.chains import MAX_CERTIFICATE, prove_device
from orbitmesh.security.device import CLOCK_SKEW
from orbitmesh.security.extensions import ROLES, extension
from orbitmesh.security.keys import mesh_id_of, signing_public

if TYPE_CHECKING:
    from tests.unit.security.conftest import OpenMesh

Chain = Sequence[bytes]


def test_a_chain_proves_who_somebody_is(mesh: OpenMesh) -> None:
    pi = mesh.device("pi", roles=["agent", "press"])
    credentials = pi.credentials(name="worker-2", boot=Boot(7), secret_key=None, now=mesh.now)
    identity = mesh.device("desk").verify(credentials.chain, key=credentials.public_key, now=mesh.now)
    assert (identity.device, identity.name, identity.boot) == ("pi", "worker-2", 7)
    assert identity.roles == {"agent", "press"}
    assert identity.node_id == credentials.node_id == pi.node_id("worker-2")
    assert identity.key == credentials.public_key
    assert identity.device_key == signing_public(mesh.secrets["pi"])


def test_a_node_may_have_fewer_roles_than_its_device_and_none(mesh: OpenMesh) -> None:
    node, device, admin = mesh.genuine()
    less = mesh.forged(node, mesh.secrets["pi"], put=[(extension(ROLES, ""), False)])
    assert mesh.device("desk").verify([less, device, admin], key=mesh.link_key, now=mesh.now).roles == frozenset()


def test_what_newer_versions_add_does_no_harm(mesh: OpenMesh) -> None:
    node, device, admin = mesh.genuine()
    put = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), False)]
    newer = mesh.forged(node, mesh.secrets["pi"], put=put)
    assert mesh.device("desk").verify([newer, device, admin], key=mesh.link_key, now=mesh.now).name == "worker"


def test_another_key_on_the_line_is_refused_also_from_memory(mesh: OpenMesh) -> None:
    verifier, chain = mesh.device("desk"), mesh.genuine()
    for _ in range(2):
        with pytest.raises(NotTrusted, match="another key than the one on the line"):
            verifier.verify(chain, key=bytes(32), now=mesh.now)
        assert verifier.verify(chain, key=mesh.link_key, now=mesh.now).name == "worker"


def begins_and_ends(chain: Chain) -> tuple[datetime, datetime]:
    certificates = [x509.load_der_x509_certificate(der) for der in chain]
    return max(c.not_valid_before_utc for c in certificates), min(c.not_valid_after_utc for c in certificates)


def test_times_are_looked_at_each_time_with_a_little_tolerance_before(mesh: OpenMesh) -> None:
    verifier, chain = mesh.device("desk"), mesh.genuine()
    begins, ends = begins_and_ends(chain)
    moment = timedelta(seconds=1)
    for _ in range(2):  # proven anew, and remembered
        verifier.verify(chain, key=mesh.link_key, now=begins - CLOCK_SKEW)
        verifier.verify(chain, key=mesh.link_key, now=ends)
        with pytest.raises(NotTrusted, match=r"begin at .* set the clocks"):
            verifier.verify(chain, key=mesh.link_key, now=begins - CLOCK_SKEW - moment)
        with pytest.raises(NotTrusted, match="ended at"):
            verifier.verify(chain, key=mesh.link_key, now=ends + moment)


@pytest.mark.parametrize("place", [0, 1, 2], ids=["node", "device", "intermediate"])
def test_every_certificate_of_a_chain_must_be_of_its_time(mesh: OpenMesh, place: int) -> None:
    chain = mesh.genuine()
    secret = [mesh.secrets["pi"], mesh.admin_secret, mesh.root_secret][place]
    day = timedelta(days=1)
    for window, reason in (
        ((mesh.now - 9 * day, mesh.now - day), "ended"),
        ((mesh.now + day, mesh.now + day), "begin"),
    ):
        changed = [*chain]
        changed[place] = mesh.forged(chain[place], secret, window=window)
        with pytest.raises(NotTrusted, match=reason):
            mesh.device("desk").verify(changed, key=mesh.link_key, now=mesh.now)


def test_a_device_is_proven_with_its_intermediate_only(mesh: OpenMesh, other_mesh: OpenMesh) -> None:
    _, device, admin = mesh.genuine()
    proven = prove_device([device, admin], root=mesh.root, mesh_id=mesh.mesh_id)
    assert (proven.name, proven.ends) == ("pi", mesh.now + DEVICE_LIFE)
    no_constraints = mesh.forged(device, mesh.admin_secret, drop=[x509.BasicConstraints.oid])
    for chain, root, reason in (
        ([device], mesh.root, "1 certificates of a device"),
        ([device, admin], other_mesh.root, "not signed by this mesh's root"),
        ([no_constraints, admin], mesh.root, "malformed"),
    ):
        with pytest.raises(NotTrusted, match=reason):
            prove_device(chain, root=root, mesh_id=mesh.mesh_id)


def test_remembered_chains_are_bounded(mesh: OpenMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "MAX_CACHED", 2)
    verifier = mesh.device("desk")
    for node in ("one", "two", "three"):
        assert verifier.verify(mesh.genuine(node=node), key=mesh.link_key, now=mesh.now).name == node
    assert len(verifier._proven) == 2


def test_certificates_glued_together_otherwise_are_not_the_remembered_chain(mesh: OpenMesh) -> None:
    verifier = mesh.device("desk")
    node, device, admin = mesh.genuine()
    verifier.verify([node, device, admin], key=mesh.link_key, now=mesh.now)
    for chain in ([node + device, admin], [node + device, b"", admin], [node, device + admin, b""]):
        with pytest.raises(NotTrusted):
            verifier.verify(chain, key=mesh.link_key, now=mesh.now)


def test_chains_of_the_longest_names_and_many_roles_fit_a_hello(mesh: OpenMesh) -> None:
    device = mesh.device("d" * 64, roles=[f"{number:02}" + "r" * 30 for number in range(32)])
    credentials = device.credentials(name="n" * 64, boot=Boot(2**53 - 1), secret_key=None, now=mesh.now)
    mesh.device("desk").verify(credentials.chain, key=credentials.public_key, now=mesh.now)
    assert max(map(len, credentials.chain)) <= MAX_CERTIFICATE
    assert sum(map(len, credentials.chain)) < 6 * 1024  # of 8 KiB


def test_two_meshes_with_the_same_names_do_not_trust_each_other(mesh: OpenMesh, other_mesh: OpenMesh) -> None:
    for ours, theirs in ((mesh, other_mesh), (other_mesh, mesh)):
        with pytest.raises(NotTrusted):
            ours.device("pi").verify(theirs.genuine(), key=theirs.link_key, now=mesh.now)


def test_one_root_key_makes_one_certificate_and_one_mesh(mesh: OpenMesh) -> None:
    assert root_certificate(mesh.root_secret) == mesh.root
    assert mesh_id_of(signing_public(mesh.root_secret)) == mesh.mesh_id
    assert len(mesh.mesh_id) == 32


def test_an_intermediate_renewed_by_the_root_carries_on(mesh: OpenMesh) -> None:
    node, device, _ = mesh.genuine()
    renewed = intermediate_certificate(
        signing_public(mesh.admin_secret),
        root=mesh.root,
        root_secret=mesh.root_secret,
        device="desk",
        now=mesh.now + timedelta(days=1),
    )
    assert mesh.device("desk").verify([node, device, renewed], key=mesh.link_key, now=mesh.now + timedelta(days=1)).name


@given(
    changes=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1023), st.integers(0, 3), st.binary(max_size=3)), max_size=4
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_is_changed_in_a_chain_only_not_trusted_escapes(
    mesh: OpenMesh, changes: list[tuple[int, int, int, bytes]]
) -> None:
    chain = mesh.genuine()
    sent = [*chain]
    for which, place, removed, put in changes:
        at = place % len(sent[which])
        sent[which] = sent[which][:at] + put + sent[which][at + removed :]
    try:
        mesh.device("desk").verify(sent, key=mesh.link_key, now=mesh.now)
    except NotTrusted:
        return
    assert sent == chain


@given(chain=st.lists(st.binary(max_size=64), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_garbage_is_trusted(mesh: OpenMesh, chain: list[bytes]) -> None:
    with pytest.raises(NotTrusted):
        mesh.device("desk").verify(chain, key=mesh.link_key, now=mesh.now)


def signed_by_the_device_itself(mesh: OpenMesh, content: bytes) -> Chain:
    """A node certificate signed rightly, with anything in its names."""
    node, device, admin = mesh.genuine()
    put = [(x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, content), False)]
    return [mesh.forged(node, mesh.secrets["pi"], put=put), device, admin]


@given(content=st.binary(max_size=80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_a_member_that_signs_nonsense_is_refused_like_a_stranger(mesh: OpenMesh, content: bytes) -> None:
    with pytest.raises(NotTrusted):
        mesh.device("desk").verify(signed_by_the_device_itself(mesh, content), key=mesh.link_key, now=mesh.now)
