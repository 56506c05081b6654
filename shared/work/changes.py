"""Wakes the followers of a job when it has changed, and runners when one starts.

PostgreSQL notifies every listening process of each commit that changed a job. On SQLite, followers are
notified of commits in their own process, and poll for those of other processes.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import text
from sqlmodel import Session

from shared.data.database import Database
from shared.errors import Unavailable

CHANNEL = "jobs_changed"
LOOK_SECONDS = 0.5  # the polling interval without notifications
LOOK_SECONDS_LISTENING = 5.0  # the polling interval with notifications, which may be lost with a connection
SPACING_SECONDS = 0.1  # a job that changes constantly is shown ten times a second
NEW_JOB = ""  # instead of an id, for followers of jobs that start


class Follower:
    """Waits for one job to change."""

    def __init__(self, changes: "Changes") -> None:
        self._changes, self._loop, self._event = changes, asyncio.get_running_loop(), asyncio.Event()

    def wake(self) -> None:
        """Wake the waiting coroutine; may be called from any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._event.set)

    async def changed(self) -> None:
        """Wait until the job has changed, or it is time to poll."""
        seconds = LOOK_SECONDS_LISTENING if self._changes.are_heard else LOOK_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
            await asyncio.sleep(SPACING_SECONDS)
        self._event.clear()

    async def woken(self, seconds: float) -> None:
        """Wait until `wake` was called, or for this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()


class Changes:
    """The followers of jobs in this process."""

    def __init__(self) -> None:
        self.are_heard = False  # whether other processes notify us
        self._followers: dict[str, set[Follower]] = {}
        # In a session: a process may have several, and each wakes its own followers.
        self._noted = f"changed {id(self)}"

    @contextmanager
    def following(self, job_id: str) -> Iterator[Follower]:
        follower = Follower(self)
        self._followers.setdefault(job_id, set()).add(follower)
        try:
            yield follower
        finally:
            self._followers[job_id].discard(follower)
            if not self._followers[job_id]:
                del self._followers[job_id]

    def note(self, session: Session, job_id: str) -> None:
        """Note that this transaction changes the job, and notify followers if it commits."""
        session.info.setdefault(self._noted, set()).add(job_id)
        if session.get_bind().dialect.name == "postgresql":
            tell = text("SELECT pg_notify(:channel, :job_id)")
            session.connection().execute(tell, {"channel": CHANNEL, "job_id": job_id})

    def committed(self, session: Session) -> None:
        for job_id in session.info.pop(self._noted, ()):
            self.wake(job_id)

    def wake(self, job_id: str) -> None:
        for follower in tuple(self._followers.get(job_id, ())):
            follower.wake()

    async def listen(self, database: Database) -> None:
        """Listen for changes by other processes until the connection ends, then raise Unavailable."""
        import psycopg

        url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                self.are_heard = True
                self._wake_all()  # for earlier changes
                async for notification in connection.notifies():
                    self.wake(notification.payload)
        except psycopg.Error as error:
            raise Unavailable(f"Notifications have ended: {error}") from error
        finally:
            self.are_heard = False
            self._wake_all()

    def _wake_all(self) -> None:
        for job_id in tuple(self._followers):
            self.wake(job_id)
