"""One forgery of a chain after another: each is refused, and each for its own fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.x509.oid import NameOID

from orbitmesh.core.errors import NotTrusted
from orbitmesh.core.ids import Boot
from orbitmesh.security.certificates import (
    device_certificate,
    device_uri,
    node_certificate,
    node_uri,
    subject,
)
from orbitmesh.security.chains import MAX_CERTIFICATE
from orbitmesh.security.extensions import BOOT, NODE_ID, ROLES, extension
from orbitmesh.security.keys import fresh_secret, node_id_of, signing_public

if TYPE_CHECKING:
    from tests.unit.security.conftest import OpenMesh

Chain = Sequence[bytes]


def oid(dotted: str) -> x509.ObjectIdentifier:
    return x509.ObjectIdentifier(dotted)


def names(uri: str) -> list[tuple[x509.ExtensionType, bool]]:
    return [(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)]


def use(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not signs,
        key_cert_sign=signs,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


# What a forger may hold: all secrets of another mesh, or all of one device. Each row is one forgery.


def by_another_root(mesh: OpenMesh, other: OpenMesh) -> Chain:
    return other.genuine()


def by_a_root_that_took_our_name(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [node, device, mesh.forged(admin, other.root_secret)]


def device_by_another_intermediate(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [node, mesh.forged(device, other.admin_secret), admin]


def node_by_another_device(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    mesh.device("thief")
    return [mesh.forged(node, mesh.secrets["thief"]), device, admin]


def device_that_signs_another_device(mesh: OpenMesh, other: OpenMesh) -> Chain:
    thief = mesh.genuine("thief")[1]
    victim = fresh_secret()
    device = device_certificate(
        signing_public(victim),
        issuer=thief,
        issuer_secret=mesh.secrets["thief"],
        device="pi",
        roles=["operator"],
        now=mesh.now,
    )
    node = node_certificate(
        mesh.link_key,
        device=device,
        device_secret=victim,
        name="worker",
        roles=["operator"],
        boot=Boot(1),
        now=mesh.now,
    )
    return [node, device, thief]


def node_that_signs_a_node(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, _ = mesh.genuine()
    return [node, node, device]


def intermediate_as_device(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, _, admin = mesh.genuine()
    by_admin = mesh.forged(node, mesh.admin_secret, issuer=x509.load_der_x509_certificate(admin).subject)
    root_as_intermediate = mesh.root
    return [by_admin, admin, root_as_intermediate]


def device_as_node(mesh: OpenMesh, other: OpenMesh) -> Chain:
    _, device, admin = mesh.genuine()
    return [device, device, admin]


def device_without_ca_flag(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [
        node,
        mesh.forged(device, mesh.admin_secret, put=[(x509.BasicConstraints(ca=False, path_length=None), True)]),
        admin,
    ]


def device_that_may_sign_devices(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [
        node,
        mesh.forged(device, mesh.admin_secret, put=[(x509.BasicConstraints(ca=True, path_length=1), True)]),
        admin,
    ]


def device_whose_key_may_not_sign(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [node, mesh.forged(device, mesh.admin_secret, put=[(use(signs=False), True)]), admin]


def node_that_may_sign(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(ca=True, path_length=0), True)]
    return [mesh.forged(node, mesh.secrets["pi"], put=[*put, (use(signs=True), True)]), device, admin]


def intermediate_without_bounds(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put = [(x509.BasicConstraints(ca=True, path_length=None), True)]
    return [node, device, mesh.forged(admin, mesh.root_secret, put=put)]


def no_constraints_at_all(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [mesh.forged(node, mesh.secrets["pi"], drop=[x509.BasicConstraints.oid]), device, admin]


def critical_and_unknown(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put = [(x509.UnrecognizedExtension(oid("1.2.3.4"), b"\x05\x00"), True)]
    return [mesh.forged(node, mesh.secrets["pi"], put=put), device, admin]


def swapped_leaf(mesh: OpenMesh, other: OpenMesh) -> Chain:
    return [mesh.genuine("desk")[0], *mesh.genuine()[1:]]


def raised_roles(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put = [(extension(ROLES, "admin,agent,operator"), False)]
    return [mesh.forged(node, mesh.secrets["pi"], put=put), device, admin]


def raised_roles_of_the_device(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put = [(extension(ROLES, "admin"), False)]
    return [node, mesh.forged(device, mesh.secrets["pi"], put=put), admin]


def roles_left_out(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [mesh.forged(node, mesh.secrets["pi"], drop=[oid(ROLES)]), device, admin]


def roles_in_another_form(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put = [(extension(ROLES, "operator,agent"), False)]
    return [mesh.forged(node, mesh.secrets["pi"], put=put), device, admin]


def roles_that_are_no_names(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put = [(extension(ROLES, ",agent"), False)]
    return [mesh.forged(node, mesh.secrets["pi"], put=put), device, admin]


def roles_that_are_no_text(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put = [(x509.UnrecognizedExtension(oid(ROLES), b"\x0c\x7fagent"), False)]
    return [mesh.forged(node, mesh.secrets["pi"], put=put), device, admin]


def name_of_another_device(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    changed = mesh.forged(
        node,
        mesh.secrets["pi"],
        subject=subject(mesh.mesh_id, "worker", unit="desk"),
        put=names(node_uri(mesh.mesh_id, "desk", "worker")),
    )
    return [changed, device, admin]


def subject_of_another_device(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    changed = mesh.forged(node, mesh.secrets["pi"], subject=subject(mesh.mesh_id, "worker", unit="desk"))
    return [changed, device, admin]


def subject_of_another_mesh(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    changed = mesh.forged(node, mesh.secrets["pi"], subject=subject(other.mesh_id, "worker", unit="pi"))
    return [changed, device, admin]


def uri_of_another_device(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put = names(node_uri(mesh.mesh_id, "desk", "worker"))
    return [mesh.forged(node, mesh.secrets["pi"], put=put), device, admin]


def uri_of_another_mesh(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put = names(node_uri(other.mesh_id, "pi", "worker"))
    return [mesh.forged(node, mesh.secrets["pi"], put=put), device, admin]


def device_of_two_names(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put = names(device_uri(mesh.mesh_id, "desk"))
    return [node, mesh.forged(device, mesh.admin_secret, put=put), admin]


def no_uri(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [mesh.forged(node, mesh.secrets["pi"], drop=[x509.SubjectAlternativeName.oid]), device, admin]


def name_with_a_path_in_it(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    changed = mesh.forged(
        node,
        mesh.secrets["pi"],
        subject=subject(mesh.mesh_id, "../desk", unit="pi"),
        put=names(node_uri(mesh.mesh_id, "pi", "../desk")),
    )
    return [changed, device, admin]


def two_names_at_once(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    both = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in ("worker", "boss")])
    return [mesh.forged(node, mesh.secrets["pi"], subject=both), device, admin]


def id_of_another_name(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put = [(extension(NODE_ID, node_id_of(signing_public(mesh.secrets["pi"]), "boss")), False)]
    return [mesh.forged(node, mesh.secrets["pi"], put=put), device, admin]


def name_of_another_id(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    changed = mesh.forged(
        node,
        mesh.secrets["pi"],
        subject=subject(mesh.mesh_id, "boss", unit="pi"),
        put=names(node_uri(mesh.mesh_id, "pi", "boss")),
    )
    return [changed, device, admin]


def boot_that_is_no_number(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [mesh.forged(node, mesh.secrets["pi"], put=[(extension(BOOT, "07"), False)]), device, admin]


def boot_beyond_all_numbers(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [mesh.forged(node, mesh.secrets["pi"], put=[(extension(BOOT, str(2**53)), False)]), device, admin]


def leaf_with_a_signing_key(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    key = Ed25519PublicKey.from_public_bytes(signing_public(mesh.link_secret))
    return [mesh.forged(node, mesh.secrets["pi"], key=key), device, admin]


def device_with_a_link_key(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    key = X25519PublicKey.from_public_bytes(mesh.link_key)
    return [node, mesh.forged(device, mesh.admin_secret, key=key), admin]


def flipped_bit_of_a_signature(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [node[:-1] + bytes([node[-1] ^ 1]), device, admin]


def truncated(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [node, device, admin[:-1]]


def one_byte_more(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    return [node + b"\0", device, admin]


def garbage(mesh: OpenMesh, other: OpenMesh) -> Chain:
    return [b"garbage", *mesh.genuine()[1:]]


def no_chain(mesh: OpenMesh, other: OpenMesh) -> Chain:
    return []


def empty_certificates(mesh: OpenMesh, other: OpenMesh) -> Chain:
    return [b"", b"", b""]


def leaf_alone(mesh: OpenMesh, other: OpenMesh) -> Chain:
    return mesh.genuine()[:1]


def without_its_intermediate(mesh: OpenMesh, other: OpenMesh) -> Chain:
    return mesh.genuine()[:2]


def with_its_root(mesh: OpenMesh, other: OpenMesh) -> Chain:
    return [*mesh.genuine(), mesh.root]


def in_another_order(mesh: OpenMesh, other: OpenMesh) -> Chain:
    return mesh.genuine()[::-1]


def too_long(mesh: OpenMesh, other: OpenMesh) -> Chain:
    return mesh.genuine() * 2


def too_large(mesh: OpenMesh, other: OpenMesh) -> Chain:
    node, device, admin = mesh.genuine()
    put = [(x509.UnrecognizedExtension(oid("1.2.3.4"), bytes(MAX_CERTIFICATE)), False)]
    return [mesh.forged(node, mesh.secrets["pi"], put=put), device, admin]


FORGERIES: list[tuple[Callable[[OpenMesh, OpenMesh], Chain], str]] = [
    (by_another_root, "not signed by this mesh's root"),
    (by_a_root_that_took_our_name, "not signed by this mesh's root"),
    (device_by_another_intermediate, "device certificate is not signed by the intermediate"),
    (node_by_another_device, "node certificate is not signed by the device"),
    (device_that_signs_another_device, "not signed by this mesh's root"),
    (node_that_signs_a_node, "not signed by this mesh's root"),
    (intermediate_as_device, "not made for that place"),
    (device_as_node, "node certificate is not signed by the device"),
    (device_without_ca_flag, "device certificate is not made for that place"),
    (device_that_may_sign_devices, "device certificate is not made for that place"),
    (device_whose_key_may_not_sign, "device certificate is not made for that place"),
    (node_that_may_sign, "node certificate is not made for that place"),
    (intermediate_without_bounds, "intermediate certificate is not made for that place"),
    (no_constraints_at_all, "malformed certificate"),
    (critical_and_unknown, "demands something"),
    (swapped_leaf, "node certificate is not signed by the device"),
    (raised_roles, "claims roles"),
    (raised_roles_of_the_device, "device certificate is not signed by the intermediate"),
    (roles_left_out, "without a valid extension for roles"),
    (roles_in_another_form, "malformed roles"),
    (roles_that_are_no_names, "malformed roles"),
    (roles_that_are_no_text, "without a valid extension for roles"),
    (name_of_another_device, "names contradict"),
    (subject_of_another_device, "names contradict"),
    (subject_of_another_mesh, "names contradict"),
    (uri_of_another_device, "names contradict"),
    (uri_of_another_mesh, "names contradict"),
    (device_of_two_names, "names contradict"),
    (no_uri, "malformed certificate"),
    (name_with_a_path_in_it, "name cannot be used"),
    (two_names_at_once, "name cannot be used"),
    (id_of_another_name, "another node's id"),
    (name_of_another_id, "another node's id"),
    (boot_that_is_no_number, "malformed boot"),
    (boot_beyond_all_numbers, "malformed boot"),
    (leaf_with_a_signing_key, "no X25519 key"),
    (device_with_a_link_key, "no Ed25519 key"),
    (flipped_bit_of_a_signature, "node certificate is not signed by the device"),
    (truncated, "intermediate certificate is no X.509 certificate"),
    (one_byte_more, "node certificate is no X.509 certificate"),
    (garbage, "node certificate is no X.509 certificate"),
    (no_chain, "a chain of 0 certificates"),
    (empty_certificates, "no X.509 certificate"),
    (leaf_alone, "a chain of 1 certificates"),
    (without_its_intermediate, "a chain of 2 certificates"),
    (with_its_root, "a chain of 4 certificates"),
    (in_another_order, "not signed by this mesh's root"),
    (too_long, "a chain of 6 certificates"),
    (too_large, "at most 4096"),
]


@pytest.mark.parametrize(("forgery", "reason"), FORGERIES, ids=[forgery.__name__ for forgery, _ in FORGERIES])
def test_a_forged_chain_is_refused_with_its_reason(
    mesh: OpenMesh, other_mesh: OpenMesh, forgery: Callable[[OpenMesh, OpenMesh], Chain], reason: str
) -> None:
    verifier = mesh.device("desk")
    verifier.verify(mesh.genuine(), key=mesh.link_key, now=mesh.now)  # what was forged is good, but for the forgery
    with pytest.raises(NotTrusted, match=reason):
        verifier.verify(forgery(mesh, other_mesh), key=mesh.link_key, now=mesh.now)


def test_what_is_forged_with_nothing_changed_is_trusted(mesh: OpenMesh) -> None:
    """So each forgery above fails for what it changes."""
    node, device, admin = mesh.genuine()
    again = [
        mesh.forged(node, mesh.secrets["pi"]),
        mesh.forged(device, mesh.admin_secret),
        mesh.forged(admin, mesh.root_secret),
    ]
    assert mesh.device("desk").verify(again, key=mesh.link_key, now=mesh.now).name == "worker"
