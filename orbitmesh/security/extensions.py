"""What our certificates say beyond plain X.509: roles, node id and boot, each a DER UTF8String.

The extensions are not critical, so that `openssl verify` and others accept the certificates; our own verification
demands them. Their object identifiers stand under a UUID of ours (ITU-T X.667), which nobody else may use.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from orbitmesh.core.errors import ConfigError, NotTrusted
from orbitmesh.core.ids import checked_name
from orbitmesh.wire.limits import MAX_ID

if TYPE_CHECKING:
    from cryptography.x509 import Extensions, UnrecognizedExtension

_ARC: Final = "2.25.248697201061414461852210126060838822116"
ROLES: Final = f"{_ARC}.1"
"""Roles in the order of their letters, with commas between."""

NODE_ID: Final = f"{_ARC}.2"
BOOT: Final = f"{_ARC}.3"
"""Digits of the boot number."""

MAX_ROLES: Final = 32

_UTF8_STRING: Final = 0x0C
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")


def extension(oid: str, value: str) -> UnrecognizedExtension:
    """One of our extensions, ready to be put into a certificate."""
    from cryptography.x509 import ObjectIdentifier, UnrecognizedExtension

    return UnrecognizedExtension(ObjectIdentifier(oid), _der(value))


def value_of(extensions: Extensions, oid: str, *, what: str) -> str:
    """Read one of our extensions.

    Raises:
        NotTrusted: The certificate has no such extension, or it is no DER UTF8String.
    """
    from cryptography.x509 import ExtensionNotFound, ObjectIdentifier, UnrecognizedExtension

    try:
        found = extensions.get_extension_for_oid(ObjectIdentifier(oid)).value
        assert isinstance(found, UnrecognizedExtension)  # the library knows none of our identifiers
        return _text(found.value)
    except (ExtensionNotFound, ValueError) as error:
        raise NotTrusted(f"a certificate without a valid extension for {what}") from error


def written_roles(roles: Collection[str]) -> str:
    """Roles as their extension holds them.

    Raises:
        ConfigError: A role's name cannot be used, or there are more than ``MAX_ROLES``.
    """
    if len(roles) > MAX_ROLES:
        raise ConfigError(f"{len(roles)} roles: a device may have {MAX_ROLES}")
    return ",".join(sorted(checked_name(role, what="role") for role in roles))


def read_roles(extensions: Extensions) -> frozenset[str]:
    """Roles of a certificate.

    Raises:
        NotTrusted: They are missing, malformed or too many.
    """
    text = value_of(extensions, ROLES, what="roles")
    roles = frozenset(text.split(",")) if text else frozenset()
    try:
        is_ours = written_roles(roles) == text
    except ConfigError:
        is_ours = False
    if not is_ours:
        raise NotTrusted("a certificate with malformed roles")
    return roles


def read_boot(extensions: Extensions) -> int:
    """Boot number of a node's certificate.

    Raises:
        NotTrusted: It is missing or malformed.
    """
    text = value_of(extensions, BOOT, what="the boot")
    if not _NUMBER.fullmatch(text) or int(text) > MAX_ID:
        raise NotTrusted("a certificate with a malformed boot number")
    return int(text)


def _der(value: str) -> bytes:
    content = value.encode()
    length = len(content)
    if length < 0x80:
        size = bytes([length])
    else:
        digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
        size = bytes([0x80 | len(digits)]) + digits
    return bytes([_UTF8_STRING]) + size + content


def _text(der: bytes) -> str:
    """Read what ``_der`` writes, and nothing else: one value has one form."""
    start = 2 if len(der) < 2 + 0x80 else 2 + (der[1] & 0x7F)
    value = der[start:].decode()
    if _der(value) != der:
        raise ValueError("not one DER UTF8String")
    return value
