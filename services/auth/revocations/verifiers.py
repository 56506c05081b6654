"""Which verifiers follow the feed, and which of them have not been sent the newest revocations."""

import asyncio
from contextlib import suppress

from shared.identity.revocations import RETRY_SECONDS_MAX

# A verifier that lost its connection retries within RETRY_SECONDS_MAX; the rest is for a busy machine.
RETURN_SECONDS = 2 * RETRY_SECONDS_MAX
_PREDECESSORS = "verifiers of the process before this one"


class Verifiers:
    """Tracks who is owed revocations: waiting verifiers, and those that are between two requests.

    A verifier returns at once after each page, and soon after auth was restarted. Until then it counts as
    following. Otherwise a revocation in this gap would reach it only after the response that reports the
    revocation.
    """

    def __init__(self) -> None:
        self._waiting: set[object] = set()  # one object for each request that is held
        self._returning: dict[str, asyncio.TimerHandle] = {}
        self._owed: set[object] = set()  # requests, and names of those that are returning
        self._has_begun = False
        self._delivered = asyncio.Event()
        self._delivered.set()

    @property
    def number_waiting(self) -> int:
        return len(self._waiting)

    @property
    def are_owed(self) -> bool:
        return bool(self._owed)

    @property
    def are_expected(self) -> bool:
        return bool(self._returning)

    async def all_sent(self) -> None:
        """Wait until every verifier has been sent everything."""
        await self._delivered.wait()

    def begin(self) -> None:
        """Expect those that followed the process before this one, from the first request on."""
        if not self._has_begun:
            self._has_begun = True
            self._expect(_PREDECESSORS)

    def arrive(self, request: object, name: str, *, is_behind: bool) -> None:
        """Note that a verifier asks for revocations. One without a name is not expected to return."""
        self._waiting.add(request)
        if is_behind and self._owed:
            self._owed.add(request)
        self._stop_expecting(name)

    def leave(self, request: object, name: str, *, returns: bool, is_behind: bool) -> None:
        """Note that a request has ended. A verifier that was sent its page returns, perhaps for more."""
        self._waiting.discard(request)
        if returns and name:
            self._expect(name)
            if is_behind and self._owed:
                self._owed.add(name)
        self._settle(request)

    def owe(self) -> None:
        """Note that there are new revocations, which everybody who follows must be sent."""
        self._owed |= self._waiting
        self._owed.update(self._returning)
        if self._owed:
            self._delivered.clear()

    def close(self) -> None:
        for timer in self._returning.values():
            timer.cancel()

    def _expect(self, name: str) -> None:
        self._cancel(name)
        loop = asyncio.get_running_loop()
        self._returning[name] = loop.call_later(RETURN_SECONDS, self._stop_expecting, name)

    def _stop_expecting(self, name: str) -> None:
        self._cancel(name)
        self._settle(name)

    def _cancel(self, name: str) -> None:
        with suppress(KeyError):
            self._returning.pop(name).cancel()

    def _settle(self, one: object) -> None:
        self._owed.discard(one)
        if not self._owed:
            self._delivered.set()
