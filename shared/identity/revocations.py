"""Revocations of unexpired tokens: received from auth, kept in memory, checked on every request."""

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from itertools import islice, takewhile
from typing import NamedTuple, Self

import structlog
from prometheus_client import Gauge
from pydantic import BaseModel

from shared.caller import Caller
from shared.errors import Unavailable
from shared.peers.client import HttpClient, InternalTokens
from shared.process.settings import ProcessSettings
from shared.process.supervision import suite_is_starting
from shared.process.tasks import end

STALE_SECONDS = 3.0  # auth sends a heartbeat every second
FIRST_LOAD_SECONDS = 10.0  # no warning while the suite is still starting
KEPT_MAX = 200_000  # per kind
# After an outage, a verifier reconnects within a tenth of the time that the outage took. So it misses little
# after a restart of auth, and causes little load while auth is down for long.
RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 0.05, 0.5
RETRY_RATIO = 0.1
FEED = "/internal/revocations"
# The header with the name of a process that follows the feed. After each page auth expects the same process
# to ask again, and delays responses that report a revocation until it has. The name is not a query parameter,
# because an older version of auth would refuse an unknown one.
VERIFIER = "x-verifier"
VERIFIER_NAME_MAX = 64

LAG = Gauge(
    *("revocation_lag_seconds", "Seconds since the revocation feed was last current"),
    multiprocess_mode="livemax",  # the worker that lags most
)

log = structlog.get_logger(__name__)


class Kind(StrEnum):
    """What is revoked: a session, all earlier tokens of a user or client, one token, or a signing key."""

    SESSION = "session"
    USER = "user"
    CLIENT = "client"
    TOKEN = "token"  # noqa: S105 - a kind, not a secret
    KEY = "key"


class Revocation(BaseModel):
    """One entry of the feed. With `below`, only tokens of lower versions are revoked."""

    number: int
    kind: str
    subject: str
    below: int | None = None
    expires: datetime


class RevocationPage(BaseModel):
    """A page of the feed: continue after `next`, immediately while `next` is less than `newest`."""

    revocations: list[Revocation]
    next: int
    oldest: int
    newest: int


class Mark(NamedTuple):
    below: float
    expires: float


class Revocations:
    """Revocations by kind and subject. An entry is dropped once all tokens it covers have expired."""

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._kept: dict[str, dict[str, Mark]] = {kind: {} for kind in Kind}
        self._sessions, self._users = self._kept[Kind.SESSION], self._kept[Kind.USER]
        self._rare = (self._kept[Kind.TOKEN], self._kept[Kind.CLIENT], self._kept[Kind.KEY])
        self._has_rare = False
        self._known = time.monotonic()
        self._loaded = self._told = False
        self.on_change: list[Callable[[], None]] = []
        # Called when a signing key was revoked, because another one signs now.
        self.on_key: list[Callable[[], None]] = []
        LAG.set_function(lambda: self.lag_seconds)  # exact, but ignored in multiprocess mode

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def cover(self, caller: Caller) -> bool:
        """Whether this caller's token is revoked. Called on every request, so it only does look-ups."""
        mark = self._users.get(caller.id)
        return (
            caller.session_id in self._sessions
            or (mark is not None and caller.version < mark.below)
            or (self._has_rare and self._cover_rarely(caller))
        )

    def _cover_rarely(self, caller: Caller) -> bool:
        tokens, clients, keys = self._rare
        mark = None if caller.client_id is None else clients.get(caller.client_id)
        return (
            caller.token_id in tokens
            or caller.key_id in keys
            or (mark is not None and caller.client_version < mark.below)
        )

    def require_current(self) -> None:
        """With REVOCATION_MODE=strict, refuse to verify tokens while revocations may be missing."""
        if self._strict and not self.is_current:
            raise Unavailable("The list of revoked tokens is out of date; try again in a moment.")

    @property
    def lag_seconds(self) -> float:
        return time.monotonic() - self._known

    @property
    def is_current(self) -> bool:
        return self._loaded and self.lag_seconds <= STALE_SECONDS

    @property
    def is_ready(self) -> bool:
        return not self._strict or self.is_current

    @property
    def state(self) -> str:
        return "current" if self.is_current else "stale"

    def add(self, revocations: Iterable[Revocation]) -> None:
        added = has_key = False
        for one in revocations:
            kept = self._kept.get(one.kind)
            if kept is None:  # a newer auth knows more kinds
                continue
            before = kept.pop(one.subject, Mark(-math.inf, 0.0))  # move to the end: the front expires first
            below = math.inf if one.below is None else one.below
            kept[one.subject] = Mark(max(before.below, below), max(before.expires, one.expires.timestamp()))
            added, has_key = True, has_key or one.kind == Kind.KEY
        self._drop_expired()
        self._has_rare = any(self._rare)
        for changed in [*(self.on_key if has_key else ()), *(self.on_change if added else ())]:
            changed()

    def forget(self) -> None:
        """Drop everything, because the feed started over."""
        for kept in self._kept.values():
            kept.clear()

    def confirm(self) -> None:
        """Note that the feed is current."""
        if self._told:
            log.info("revocations_current", silent_seconds=round(self.lag_seconds, 1))
        self._known, self._loaded, self._told = time.monotonic(), True, False
        LAG.set(0.0)

    def note_silence(self, reason: Exception) -> None:
        """Note that the feed could not be read, and log it once if this lasts."""
        LAG.set(self.lag_seconds)
        if suite_is_starting():
            return  # the launcher reports what it is waiting for
        patience = STALE_SECONDS if self._loaded else FIRST_LOAD_SECONDS
        if not self._told and self.lag_seconds > patience:
            self._told = True
            seconds = round(self.lag_seconds, 1)
            log.warning("revocations_stale", silent_seconds=seconds, strict=self._strict, reason=str(reason))

    def _drop_expired(self) -> None:
        for kind, kept in self._kept.items():
            for subject in _expired(kept):
                del kept[subject]
            surplus = [*islice(kept, max(0, len(kept) - KEPT_MAX))]
            if surplus:
                log.error("revocations_dropped", kind=str(kind), number=len(surplus))
            for subject in surplus:
                del kept[subject]


def _expired(kept: dict[str, Mark]) -> list[str]:
    # One pass from the front: fetching the first key after each deletion would skip all deleted slots.
    now = time.time()
    return [*takewhile(lambda subject: kept[subject].expires <= now, kept)]


class Follower:
    """Keeps revocations current by long polling auth."""

    def __init__(self, revocations: Revocations, client: HttpClient, settings: ProcessSettings) -> None:
        self._revocations = revocations
        self._client = client
        self._tokens = InternalTokens(settings)
        self._url = settings.auth_url.rstrip("/") + FEED
        self._name = secrets.token_urlsafe(9)
        self._after = 0
        self._tried = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Load the current revocations. If auth is unreachable, start anyway and load them later."""
        self._task = asyncio.create_task(self._follow(), name="revocations")
        with suppress(TimeoutError):
            async with asyncio.timeout(STALE_SECONDS):
                await self._tried.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        await end([self._task])

    async def _follow(self) -> None:
        while True:
            try:
                await self._ask()
            except Exception as error:
                # Any error: without this task, revoked tokens would be accepted until they expire.
                if not isinstance(error, Unavailable):
                    log.exception("revocations_unreadable")
                self._tried.set()
                self._revocations.note_silence(error)
                outage = RETRY_RATIO * self._revocations.lag_seconds
                await asyncio.sleep(min(max(outage, RETRY_SECONDS_MIN), RETRY_SECONDS_MAX))

    async def _ask(self) -> None:
        page = RevocationPage.model_validate_json(
            await self._client.long_poll(
                f"{self._url}?after={self._after}",
                headers={"Authorization": f"Bearer {self._tokens.issue('auth')}", VERIFIER: self._name},
                silence_seconds=STALE_SECONDS,
                on_sign_of_life=self._confirm,
            )
        )
        if page.newest < self._after:  # a different database, for example a restored one
            log.warning("revocations_began_again", after=self._after, newest=page.newest)
            self._revocations.forget()
            self._after = 0
            return
        self._revocations.add(page.revocations)
        self._after = page.next
        if page.next >= page.newest:
            self._confirm()

    def _confirm(self) -> None:
        self._revocations.confirm()
        self._tried.set()
