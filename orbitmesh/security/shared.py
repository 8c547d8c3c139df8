"""A mesh that stands on one shared secret: whether the secret is good enough, and what is derived from it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from math import log2
from typing import Final

from orbitmesh.core.errors import ConfigError
from orbitmesh.security.keys import KEY_BYTES, DiscoveryKey

MIN_BITS: Final = 128
"""Everything of the mesh follows from the secret, and whoever hears the network may try secrets at home."""

MAX_CHARACTERS: Final = 1024

_MEND: Final = 'make a good one: python -c "import secrets; print(secrets.token_urlsafe(24))"'
_HEX: Final = re.compile(r"[0-9a-fA-F]{32,}")
_BASE64: Final = re.compile(r"(?![0-9a-fA-F]+$)[A-Za-z0-9+/_-]{22,}={0,2}")
"""Not what is hex as well: a character of that has four bits, not six."""

_TOKEN: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[\W_]", re.ASCII)

_WORD_BITS: Final = 13.0
"""What a word adds at most: one of 7,776, as dice lists have them, and a little for spelling it differently."""

_LETTER_BITS: Final = log2(26)
_DIGIT_BITS: Final = log2(10)
_BASE64_BITS: Final = 6.0
_OTHER_BITS: Final = 2.0
_SCRYPT_COST: Final = 2**15
"""With blocks of 8: 32 MiB and some 0.1 s on a small machine, at each start with a passphrase."""

_MADE: Final = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedKeys:
    """What every holder of the secret has."""

    root_secret: bytes = field(repr=False)
    discovery: DiscoveryKey


def derived(secret: str) -> SharedKeys:
    """Derive the keys of the mesh: the same for the same secret, wherever and whenever.

    Random keys (hex or base64 of 16 bytes and more) go through HKDF, anything else first through scrypt. White space
    around the secret does not count.

    Raises:
        ConfigError: The secret has less than 128 bits as far as one can tell; the message says how to make a good one.

    Source: RFC 5869 (HKDF), RFC 7914 (scrypt).
    """
    text = unicodedata.normalize("NFC", secret.strip())
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"the shared secret has {len(text)} characters: at most {MAX_CHARACTERS} are taken; {_MEND}")
    material = text.encode(errors="surrogatepass")
    if not is_random_key(text):
        _check_passphrase(text)
        material = hashlib.scrypt(
            material,
            salt=b"orbitmesh shared secret 1",
            n=_SCRYPT_COST,
            r=8,
            p=1,
            maxmem=2 * 128 * 8 * _SCRYPT_COST,
            dklen=KEY_BYTES,
        )
    return SharedKeys(
        root_secret=_expanded(material, b"orbitmesh shared root 1"),
        discovery=DiscoveryKey(number=1, made=_MADE, key=_expanded(material, b"orbitmesh shared discovery 1")),
    )


def is_random_key(text: str) -> bool:
    """Whether a text is surely hex or base64 of at least 16 random bytes; words written together are not.

    Some random texts are not sure enough: they go through scrypt too, at the cost of a moment.
    """
    if _HEX.fullmatch(text):
        return len(set(text.lower())) > 8 and not _is_regular(text.lower())
    return _mixture(text) >= 3 / 8


def passphrase_bits(text: str) -> float:
    """How hard a text is to guess, in bits, for somebody who tries words; what stands in it twice counts once."""
    if _mixture(text) >= 1 / 4:
        return len(text) * _BASE64_BITS
    bits = 0.0
    tokens: list[str] = _TOKEN.findall(text)
    for token in {token.casefold() for token in tokens}:
        if token.isdigit():
            bits += min(_WORD_BITS, len(token) * _DIGIT_BITS)
        elif token.isalpha():
            bits += min(_WORD_BITS, len(token) * _LETTER_BITS)
        elif not token.isspace():
            bits += _OTHER_BITS
    return bits


def _mixture(text: str) -> float:
    """Words and numbers per character, as they seem to stand in what may be base64 of 16 bytes; 0: it is not.

    Where words are written together there is one for some five characters; random base64 has nearly one for two, and
    of texts of 24 random bytes not one in 50,000 has less than one for four.
    """
    if not _BASE64.fullmatch(text) or len(set(text)) <= 10 or _is_regular(text):
        return 0.0
    tokens: list[str] = _TOKEN.findall(text)
    return sum(token.isalnum() for token in tokens) / len(text)


def _check_passphrase(text: str) -> None:
    if (bits := passphrase_bits(text)) < MIN_BITS:
        raise ConfigError(
            f"the shared secret is too weak: it has some {bits:.0f} bits, {MIN_BITS} are needed "
            f"(ten words drawn by dice have them); {_MEND}"
        )


def _is_regular(text: str) -> bool:
    """Whether a text repeats itself, or runs along the alphabet."""
    is_repeated = text in (text + text)[1:-1]
    steps = sum(abs(ord(first) - ord(second)) <= 1 for first, second in pairwise(text))
    return is_repeated or steps * 2 > len(text)


def _expanded(material: bytes, label: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=label).derive(material)
