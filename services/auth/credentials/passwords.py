"""Password hashing with bcrypt, in dedicated threads so that it blocks nothing else."""

import asyncio
import base64
import hmac
import math
import os
import secrets
import string
import sys
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import bcrypt
import structlog

from shared.errors import Overloaded

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger(__name__)

BCRYPT_BYTES_MAX = 72
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of this container: microseconds, and of which period
DIGEST_KEY = b"gatehouse long password"  # not a secret
# At cost 12 a hash takes about a quarter of a second, so the last in the queue still gets its response
# before a client times out. Further requests are refused at once.
WAITING_PER_THREAD_MAX = 50


class Passwords:
    """Hashes and checks passwords with one cost, as many at a time as there are cores for this process."""

    def __init__(self, cost: int, threads: int | None = None) -> None:
        threads = threads or cores()
        self._cost = cost
        self._nobodys_hash = nobodys_hash(cost)
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="bcrypt")
        self._unfinished = 0
        self._unfinished_max = threads * (1 + WAITING_PER_THREAD_MAX)

    async def hash(self, password: str) -> str:
        return await self._in_thread(hash_password, password, self._cost)

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether the password matches. Without a hash it never does, but the check takes the same time."""
        return await self._in_thread(check_password, password, password_hash or self._nobodys_hash)

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash has a different cost from new ones."""
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


def cores() -> int:
    """Return how many cores this process may use, which in a container are often fewer than there are.

    More hashes at a time would only take turns on a core, and take them from all other requests.
    """
    if sys.platform == "linux":
        return min(len(os.sched_getaffinity(0)), _cores_of_quota())
    return os.cpu_count() or 1


def _cores_of_quota() -> int:
    """Return the cores that the container may use at a time, rounded up: `150000 100000` is 2."""
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no container, or `max 100000`: no quota
        return sys.maxsize


def hash_password(password: str, cost: int) -> str:
    return bcrypt.hashpw(_for_bcrypt(password), bcrypt.gensalt(cost)).decode()


def check_password(password: str, password_hash: str) -> bool:
    try:
        return bcrypt.checkpw(_for_bcrypt(password), password_hash.encode())
    except ValueError:  # an imported value that is not a bcrypt hash matches no password
        log.warning("unusable_password_hash")
        return False


def nobodys_hash(cost: int) -> str:
    """Return a hash that matches no password and is as slow to check as a real one."""
    alphabet = "./" + string.ascii_letters + string.digits
    return bcrypt.gensalt(cost).decode() + "".join(secrets.choice(alphabet) for _ in range(31))


def _for_bcrypt(password: str) -> bytes:
    """Return the bytes to hash: normalised, and never truncated.

    bcrypt uses 72 bytes, and repeats the password at a zero byte, so that `ab` equals `ab`, zero, `ab`. So
    a password that is longer, or contains a zero byte, is replaced by its digest. Others are hashed
    unchanged, so that hashes from other programs can be imported. The digest is keyed, because a plain
    SHA-256 leaked from another program would work as the password here.
    """
    encoded = unicodedata.normalize("NFC", password).encode()
    if len(encoded) <= BCRYPT_BYTES_MAX and b"\0" not in encoded:
        return encoded
    return base64.b64encode(hmac.digest(DIGEST_KEY, encoded, "sha256"))
