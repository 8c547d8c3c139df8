"""Shared secrets: which are good enough, and that the same one always makes the same mesh."""

from __future__ import annotations

import base64
import hashlib
import time
from datetime import UTC, datetime, timedelta

import pytest

from orbitmesh.core.errors import ConfigError, NotTrusted
from orbitmesh.core.ids import Boot
from orbitmesh.security import birth
from orbitmesh.security.device import Device
from orbitmesh.security.keys import fresh_secret
from orbitmesh.security.shared import MIN_BITS, derived, is_random_key, passphrase_bits

NOW = datetime(2030, 6, 1, tzinfo=UTC)
DICE = "acorn bishop clumsy dwarf eleven fidget gravel hutch igloo jockey"
RANDOM = hashlib.sha256(b"a random key").digest()
URLSAFE = base64.urlsafe_b64encode(RANDOM[:24]).decode()


@pytest.mark.parametrize(
    "secret",
    [RANDOM.hex(), RANDOM[:16].hex().upper(), URLSAFE, base64.b64encode(RANDOM[:20]).decode(), DICE],
)
def test_good_secrets_are_taken_and_make_the_same_keys_each_time(secret: str) -> None:
    keys = derived(secret)
    assert derived(f" {secret}\n") == keys
    assert derived("x1" + secret) != keys
    assert len({keys.root_secret, keys.discovery.key}) == 2
    assert (len(keys.root_secret), len(keys.discovery.key)) == (32, 32)


def test_random_keys_are_told_from_what_people_write() -> None:
    assert is_random_key(RANDOM.hex())
    assert is_random_key(URLSAFE)
    for text in (DICE, "CorrectHorseBatteryStaple2024", "correct-horse-battery-staple-1", RANDOM[:15].hex()):
        assert not is_random_key(text)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "password",
        "correct horse battery staple",
        "CorrectHorseBatteryStaple2024",
        "correct-horse-battery-staple-and-some-more",
        "a" * 64,
        "deadbeef" * 8,
        "0123456789abcdef" * 2,
        "0123456789abcdeffedcba9876543210",
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
        "no no no no no no no no no no no no no no no no no no no no no",
        "12345678901234567890123456789012345678901",
        "!" * 100,
        RANDOM[:15].hex(),
    ],
)
def test_weak_secrets_are_refused_with_the_way_to_a_good_one(secret: str) -> None:
    with pytest.raises(ConfigError, match="token_urlsafe") as refusal:
        derived(secret)
    assert not secret or secret not in str(refusal.value)


def test_random_keys_that_look_a_little_like_words_are_taken_with_more_care() -> None:
    text = "HwTRzxqcKPlmnrtUVWQdfghzABCkloiu"
    assert not is_random_key(text)
    assert passphrase_bits(text) >= MIN_BITS
    assert derived(text) == derived(text)


def test_far_too_long_secrets_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 1024"):
        derived(RANDOM.hex() * 20)


def test_ten_words_by_dice_are_enough_and_nine_are_not() -> None:
    assert passphrase_bits(DICE) >= MIN_BITS
    assert passphrase_bits(DICE.rpartition(" ")[0]) < MIN_BITS
    assert passphrase_bits(DICE + "!") > passphrase_bits(DICE)


def test_words_in_any_language_and_bytes_that_are_no_text_do_no_harm() -> None:
    assert derived("Žluťoučký kůň " + DICE) == derived("Žluťoučký kůň " + DICE)
    assert derived("\udcff " + DICE) != derived(DICE)


def test_a_passphrase_costs_whoever_tries_many_and_a_random_key_nobody() -> None:
    def seconds(secret: str) -> float:
        return min(_timed(secret) for _ in range(3))

    assert seconds(DICE) > 5 * seconds(URLSAFE)


def _timed(secret: str) -> float:
    began = time.perf_counter()
    derived(secret)
    return time.perf_counter() - began


def member(secret: str, *, name: str, now: datetime = NOW) -> Device:
    return birth.on_shared_secret(derived(secret), fresh_secret(), name=name, now=now)


def test_holders_of_one_secret_are_one_mesh_and_of_another_are_not() -> None:
    here, there, stranger = member(URLSAFE, name="pi"), member(URLSAFE, name="desk"), member(RANDOM.hex(), name="pi")
    assert here.is_shared_secret
    assert here.roles == {"admin", "operator", "owner", "agent"}
    assert here.mesh_id == there.mesh_id != stranger.mesh_id
    credentials = there.credentials(name="worker", boot=Boot(1), secret_key=None, now=NOW)
    assert here.verify(credentials.chain, key=credentials.public_key, now=NOW).device == "desk"
    with pytest.raises(NotTrusted):
        stranger.verify(credentials.chain, key=credentials.public_key, now=NOW)
    assert here.mesh_tag(NOW) == there.mesh_tag(NOW) != stranger.mesh_tag(NOW)


def test_two_holders_of_one_name_are_two_devices() -> None:
    first, second = member(URLSAFE, name="pi"), member(URLSAFE, name="pi")
    assert first.node_id("worker") != second.node_id("worker")


def test_holders_that_started_years_apart_are_one_mesh() -> None:
    years = NOW + timedelta(days=3000)
    credentials = member(URLSAFE, name="pi", now=years).credentials(
        name="worker", boot=Boot(1), secret_key=None, now=years
    )
    assert member(URLSAFE, name="desk").verify(credentials.chain, key=credentials.public_key, now=years).name
    assert "root_secret" not in repr(derived(URLSAFE))
