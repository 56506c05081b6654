"""Password hashing: no truncation, and never more hashes at once than threads."""

import asyncio
import base64
import hashlib
import sys
import threading
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path

import bcrypt
import pytest

from services.auth.credentials.passwords import (
    WAITING_PER_THREAD_MAX,
    Passwords,
    check_password,
    cores,
    hash_password,
    nobodys_hash,
)
from shared.errors import Overloaded

COST = 4


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(COST, threads=1)
    yield made
    made.close()


@pytest.mark.parametrize(
    "password",
    [
        "password123",
        "x" * 71,
        "x" * 72,
        "x" * 73,
        "x" * 1024,
        "🔑" * 18,
        "🔑" * 19,
        "🔑" * 1024,
        "é" * 36,
        "é" * 37,
        "a\x00b-and-more",
        "  spaces matter  ",
    ],
)
def test_every_character_counts_A6(password: str) -> None:
    password_hash = hash_password(password, COST)

    assert check_password(password, password_hash)
    for other in (
        password[:-1],
        password + "x",
        password + "\x00",
        f"{password}\x00{password}",
        "X" + password[1:],
        password[:-1] + "Z",
    ):
        assert not check_password(other, password_hash)


def test_short_password_is_hashed_like_in_other_programs() -> None:
    for password in ("x" * 72, "é" * 36):
        assert bcrypt.checkpw(password.encode(), hash_password(password, COST).encode())


def test_plain_digest_of_a_long_password_does_not_match_it() -> None:
    password = "x" * 100
    leaked = hashlib.sha256(password.encode())
    password_hash = hash_password(password, COST)
    for digest in (leaked.hexdigest(), base64.b64encode(leaked.digest()).decode()):
        assert not check_password(digest, password_hash)


def test_composed_and_decomposed_accents_match_A6() -> None:
    for composed in ("Zoë-passwörd", "é" * 200):
        decomposed = unicodedata.normalize("NFD", composed)
        assert composed != decomposed
        assert check_password(decomposed, hash_password(composed, COST))


@pytest.mark.parametrize(
    "broken", ["", "x", "!", "$2b$", "$2b$04$short", "$argon2id$v=19$m=65536", "ö", "$2b$99$" + "x" * 53]
)
def test_invalid_hash_matches_no_password(broken: str) -> None:
    assert not check_password("password123", broken)


def test_dummy_hash_looks_like_a_real_one_and_matches_nothing() -> None:
    made = nobodys_hash(COST)

    assert made.startswith("$2b$04$")
    assert len(made) == len(hash_password("x", COST))
    assert not check_password("password123", made)
    assert made != nobodys_hash(COST)


async def test_hash_with_a_different_cost_is_outdated(passwords: Passwords) -> None:
    assert not passwords.is_outdated(await passwords.hash("password123"))
    assert passwords.is_outdated(hash_password("password123", COST + 1))


async def test_password_does_not_match_without_a_hash(passwords: Passwords) -> None:
    assert not await passwords.matches("password123", None)


@pytest.mark.skipif(sys.platform != "linux", reason="processes cannot be pinned to cores")
def test_only_as_many_hashes_at_a_time_as_cores_for_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {3})
    made = Passwords(COST)
    made.close()

    assert made._threads._max_workers == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has quotas of containers")
@pytest.mark.parametrize(
    ("quota", "found"),
    [
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1600000 100000", 8),
        ("max 100000", 8),
        ("", 8),
        (None, 8),
    ],
)
def test_quota_of_the_container_limits_the_cores(
    quota: str | None, found: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(8)))
    monkeypatch.setattr("services.auth.credentials.passwords.CPU_QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert cores() == found


async def test_request_beyond_the_queue_limit_is_refused_at_once(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = threading.Event()
    real = bcrypt.hashpw

    def hash_when_opened(password: bytes, salt: bytes) -> bytes:
        opened.wait(30)
        return real(password, salt)

    monkeypatch.setattr("bcrypt.hashpw", hash_when_opened)
    taken = [
        asyncio.ensure_future(passwords.hash(f"password {n}")) for n in range(1 + WAITING_PER_THREAD_MAX)
    ]
    await asyncio.sleep(0)  # let each of them enter the queue
    with pytest.raises(Overloaded) as refused:
        await passwords.hash("one too many")
    opened.set()

    assert refused.value.headers["Retry-After"] == "1"
    assert len({*await asyncio.gather(*taken)}) == len(taken)
    assert await passwords.hash("there is room again")
