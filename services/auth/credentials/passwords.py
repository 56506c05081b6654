"""Passwords: hashed with bcrypt, in threads of their own so that hashing stops nothing else."""

import asyncio
import base64
import hmac
import os
import secrets
import string
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt
import structlog

from shared.errors import Overloaded

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger(__name__)

BCRYPT_BYTES_MAX = 72
DIGEST_KEY = b"gatehouse long password"  # no secret
# At cost 12 a hash takes about a quarter of a second: the last in the queue still gets its answer before
# a client gives up, and everybody after that is refused at once.
WAITING_PER_THREAD_MAX = 50


class Passwords:
    """Hashes and checks passwords at one cost, as many at a time as there are cores."""

    def __init__(self, cost: int, threads: int | None = None) -> None:
        threads = threads or os.cpu_count() or 1
        self._cost = cost
        self._nobodys_hash = nobodys_hash(cost)
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="bcrypt")
        self._unfinished = 0
        self._unfinished_max = threads * (1 + WAITING_PER_THREAD_MAX)

    async def hash(self, password: str) -> str:
        return await self._in_thread(hash_password, password, self._cost)

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the password. Without a hash the answer is no, and takes as long to find."""
        return await self._in_thread(check_password, password, password_hash or self._nobodys_hash)

    def is_outdated(self, password_hash: str) -> bool:
        """Whether it was made at another cost than new ones are."""
        return password_hash.split("$")[2] != f"{self._cost:02}"

    def close(self) -> None:
        self._threads.shutdown(wait=True)

    async def _in_thread(self, work: Callable[[str, T], R], password: str, argument: T) -> R:
        if self._unfinished >= self._unfinished_max:
            raise Overloaded
        self._unfinished += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, password, argument)
        finally:
            self._unfinished -= 1


def hash_password(password: str, cost: int) -> str:
    return bcrypt.hashpw(_for_bcrypt(password), bcrypt.gensalt(cost)).decode()


def check_password(password: str, password_hash: str) -> bool:
    try:
        return bcrypt.checkpw(_for_bcrypt(password), password_hash.encode())
    except ValueError:  # an imported text that is not a hash matches no password
        log.warning("unusable_password_hash")
        return False


def nobodys_hash(cost: int) -> str:
    """A hash that no password has, as slow to check as a real one."""
    alphabet = "./" + string.ascii_letters + string.digits
    return bcrypt.gensalt(cost).decode() + "".join(secrets.choice(alphabet) for _ in range(31))


def _for_bcrypt(password: str) -> bytes:
    """The bytes to hash: the same however the accents were typed, and never cut off.

    bcrypt takes 72 bytes, and a zero byte is where it starts over, so that `ab` is also `ab`, zero, `ab`.
    A password that is longer, or has a zero byte, is replaced by its digest; any other goes in as it is,
    so that hashes of other programs can be imported. The digest is one that no other program computes:
    a plain SHA-256 could be in a list that another program has lost, and would be as good as the password.
    """
    encoded = unicodedata.normalize("NFC", password).encode()
    if len(encoded) <= BCRYPT_BYTES_MAX and b"\0" not in encoded:
        return encoded
    return base64.b64encode(hmac.digest(DIGEST_KEY, encoded, "sha256"))
