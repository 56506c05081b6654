"""The revocation feed: each replica reads the table once, for itself and all waiting verifiers."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Self

import structlog

from services.auth.revocations.log import PAGE_ROWS, RevocationLog, newest_number, read_page
from services.auth.revocations.verifiers import Verifiers
from shared.clock import now
from shared.data.database import Database
from shared.errors import Overloaded, Problem, Unavailable
from shared.identity.revocations import Kind, Revocation, RevocationPage, Revocations
from shared.process.tasks import end

POLL_SECONDS = 0.25  # for commits of other replicas; a replica publishes its own at once
RETRY_SECONDS = 1.0
HOLD_SECONDS = 25.0
SIGN_OF_LIFE_SECONDS = 1.0
WAITING_MAX = 1_000
DELIVERY_SECONDS_MAX = 1.0  # the longest that a response waits for verifiers
SIGN_OF_LIFE = b"\n"

log = structlog.get_logger(__name__)


class RevocationFeed:
    """Reads the table after commits, and caches the newest rows for waiting verifiers.

    A waiting verifier holds no thread and no database connection. Only a verifier that has fallen behind the
    cached rows causes a query of its own, one page at a time.
    """

    def __init__(
        self,
        database: Database,
        revocation_log: RevocationLog,
        own: Revocations,
        on_kill: Callable[[], object] = lambda: None,
    ) -> None:
        self._database = database
        self._log = revocation_log
        self._own = own
        self._recent: deque[Revocation] = deque(maxlen=PAGE_ROWS)
        self._newest = self._oldest = 0
        self._failing = False
        self._reading = asyncio.Lock()
        self.verifiers = Verifiers()
        # Called in a thread before verifiers learn that a key was killed, so that it no longer signs by then.
        self._on_kill = on_kill
        self._committed, self._news = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()

        def tell() -> None:  # called from a database thread, perhaps after the loop has closed
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._committed.set)

        self._log.on_commit = tell
        await self.catch_up()
        self._task = asyncio.create_task(self._read_on(), name="revocation feed")
        return self

    async def __aexit__(self, *_: object) -> None:
        await end([self._task])
        self.verifiers.close()

    async def answer(
        self, after: int, stopping: Callable[[], bool], verifier: str = ""
    ) -> AsyncGenerator[bytes]:
        """Stream the revocations after a number, once there are any or the wait times out."""
        if self.verifiers.number_waiting >= WAITING_MAX:
            raise Overloaded
        if after > self._newest:
            # Another replica has published something that this one has not read yet.
            await self.catch_up()
        if self._failing:
            raise Unavailable
        return self._held(after, stopping, verifier)

    async def _held(self, after: int, stopping: Callable[[], bool], verifier: str) -> AsyncGenerator[bytes]:
        deadline, own, sent = time.monotonic() + HOLD_SECONDS, object(), None
        self.verifiers.arrive(own, verifier, is_behind=after != self._newest)
        try:
            while after == self._newest and time.monotonic() < deadline and not stopping():
                if self._failing:
                    return  # without a result, so that the verifier tries another replica
                yield SIGN_OF_LIFE
                await self._news_within(SIGN_OF_LIFE_SECONDS)
            page = await self._page(after)
            yield page.model_dump_json().encode()
            sent = page.next  # the server asks for more only after it has sent the page
        except Problem:
            return
        finally:
            returns = sent is not None and not stopping()
            self.verifiers.leave(own, verifier, returns=returns, is_behind=sent != self._newest)

    async def deliver(self) -> None:
        """Wait until all that follow have been sent what was committed so far, but not for long."""
        if not (self._committed.is_set() or self._reading.locked() or self.verifiers.are_owed):
            return
        with suppress(TimeoutError, Problem):
            async with asyncio.timeout(DELIVERY_SECONDS_MAX):
                async with self._reading:
                    is_unread = self._committed.is_set()  # otherwise a read has begun after the commit
                if is_unread:
                    await self.catch_up()
                await self.verifiers.all_sent()

    async def _page(self, after: int) -> RevocationPage:
        is_kept = len(self._recent) < PAGE_ROWS or after >= self._recent[0].number - 1
        if not is_kept or after > self._newest:
            return await self._database.read(read_page, after)
        moment = now()
        later = [one for one in self._recent if one.number > after and one.expires > moment]
        return RevocationPage(revocations=later, next=self._newest, oldest=self._oldest, newest=self._newest)

    async def _news_within(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def _read_on(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS if self._failing else POLL_SECONDS):
                    await self._committed.wait()
            try:
                if self._committed.is_set() or self._failing or await self._has_missed_some():
                    await self.catch_up()
                else:
                    self._own.confirm()
            except Exception as error:
                # Catch everything: if this task ended, no further revocation would be published.
                if not isinstance(error, Problem):
                    log.exception("revocation_feed_failed")
                self._failing = True
                self._own.note_silence(error)
                self._wake()

    async def _has_missed_some(self) -> bool:
        return await self._database.read(newest_number) != self._newest

    async def catch_up(self) -> None:
        """Read what has been committed, here or by another replica."""
        async with self._reading:
            self._committed.clear()
            before = self._newest
            await self._read_pages()
            self._own.confirm()
            self._failing = False
            if self._newest != before:
                self._wake()

    async def _read_pages(self) -> None:
        while True:
            page = await self._database.read(read_page, self._newest)
            if page.newest < self._newest:  # the database was replaced by an older copy
                self._recent.clear()
                self._own.forget()
                self._newest = 0
                continue
            self._own.add(page.revocations)
            if any(one.kind == Kind.KEY for one in page.revocations):
                await self._database.in_thread(self._on_kill)
            self._recent.extend(page.revocations)
            self._newest, self._oldest = page.next, page.oldest
            if page.next == page.newest:
                return

    def _wake(self) -> None:
        self.verifiers.owe()
        self._news.set()
        self._news = asyncio.Event()
