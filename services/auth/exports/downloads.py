"""Limits on downloads of archives, which are compressed anew each time."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

from sqlmodel import Session
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.auth.credentials.throttle import Pace
from services.auth.errors import TooManyDownloads

# An archive has a limited size, so this limits the bytes as well.
PER_ACCOUNT = Pace(at_once=5, interval=timedelta(hours=1))
AT_ONCE_MAX = 4  # in this process, for all accounts
RETRY_SECONDS = 30


class Downloads:
    """The downloads of this process: one at a time for each account."""

    def __init__(self) -> None:
        self._accounts: set[str] = set()

    def count(self, session: Session, account_id: str) -> None:
        """Count a download, or raise TooManyDownloads."""
        self._require_room(account_id)
        wait = PER_ACCOUNT.wait(session, f"downloads of exports by {account_id}")
        if wait:
            raise _too_many(wait)

    def response(
        self, account_id: str, content: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> StreamingResponse:
        """Return the response that sends an archive, or raise TooManyDownloads."""
        self._require_room(account_id)
        self._accounts.add(account_id)
        return _Download(self, account_id, content, headers)

    def ended(self, account_id: str) -> None:
        self._accounts.discard(account_id)

    def _require_room(self, account_id: str) -> None:
        if account_id in self._accounts or len(self._accounts) >= AT_ONCE_MAX:
            raise _too_many(RETRY_SECONDS)


class _Download(StreamingResponse):
    """A response that says when it has ended, even if the client hangs up."""

    def __init__(
        self, downloads: Downloads, account_id: str, content: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> None:
        super().__init__(content, media_type="application/zip", headers=headers)
        self._downloads, self._account_id = downloads, account_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._downloads.ended(self._account_id)


def _too_many(seconds: int) -> TooManyDownloads:
    return TooManyDownloads(headers={"Retry-After": str(seconds)})
