"""A log with records, and ways to tamper with it."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import text

from services.audit.checking import Verification
from services.audit.checkpoints import Checkpoints
from services.audit.export import Export, FullExport, PartialExport, ndjson
from services.audit.feed import pinned
from services.audit.log import Entry, append
from services.audit.proofs import Checkpoint, Key
from services.audit.retention import prepare_months
from services.audit.schemas import FilterLogs
from services.audit.settings import Settings
from services.audit.statements import Fault
from services.audit.verification import Checked, verify
from services.audit.verifier import check_export
from shared.clock import now
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.ids import new_id

TEST_KEY_SECRET = "3f1c9a5e7b2d4860a1c3e5f7092b4d6f"
ALICE, BOB = new_id(), new_id()


def entry(user_id: str | None = ALICE, action: str = "FILE_UPLOAD", **changes: Any) -> Entry:
    values: dict[str, Any] = {
        "service": "files",
        "actor": f"user:{user_id}" if user_id else "anonymous",
        "resource": new_id(),
        "user_id": user_id,
        "ip": "192.0.2.1",
        "user_agent": "curl/7.68.0",
        "metadata": {"filename": "document.pdf", "size": 1024000, "share": 0.25},
        "request_id": new_id(),
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    return Entry(action=action, **values | changes)


class Log:
    """A log without a running service."""

    def __init__(self, settings: Settings) -> None:
        upgrade(settings.database_url, settings.migrations())
        self.settings = settings
        self.database = Database(settings.database_url, pool_size=2)
        self.checkpoints = Checkpoints(settings, self.database)
        with self.database.transaction() as session:
            prepare_months(session, now())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.database.close()

    @property
    def keys(self) -> list[Key]:
        return self.checkpoints.keys.public

    def add(self, *entries: Entry) -> int:
        with self.database.transaction() as session:
            return append(session, entries)

    def fill(self, count: int, **changes: Any) -> None:
        for start in range(0, count, 100):
            self.add(*(entry(**changes) for _ in range(min(100, count - start))))

    def sign(self) -> str:
        """Sign a checkpoint of all records."""
        self.checkpoints.make(whole=True)
        with self.database.transaction(write=False) as session:
            return pinned(session).note

    def prepare_month(self, moment: datetime) -> None:
        with self.database.transaction() as session:
            prepare_months(session, moment)

    def tamper(self, *statements: str) -> None:
        """Run statements as the owner of the database, without triggers."""
        with self.database.engine.begin() as connection:
            if self.database.is_sqlite:
                names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
                for name in names.scalars().all():
                    connection.execute(text(f"DROP TRIGGER {name}"))
            else:
                connection.execute(text("SET session_replication_role = replica"))
            for statement in statements:
                connection.exec_driver_sql(statement)

    def lines(self, export: Export | None = None) -> list[bytes]:
        """Return the lines of an export, as they are sent."""
        self.sign()

        async def read() -> bytes:
            return b"".join(
                [piece async for piece in ndjson(self.database, export or self.full(), self.checkpoints.keys)]
            )

        return asyncio.run(read()).splitlines(keepends=True)

    def full(self) -> FullExport:
        with self.database.transaction(write=False) as session:
            return FullExport(pinned(session))

    def partial(self, user_id: str) -> PartialExport:
        self.sign()
        with self.database.transaction(write=False) as session:
            return PartialExport(pinned(session), FilterLogs(), user_id)

    def check(self, lines: Sequence[bytes], *kept: str) -> Verification:
        """Run the stand-alone verifier."""
        verification = Verification(self.keys, [checkpoint(note, self.keys) for note in kept])
        check_export(lines, verification)
        return verification

    def faults(self, *kept: str) -> list[Fault]:
        return self.check(self.lines(), *kept).faults

    def verify(self, first: int | None = None, limit: int = 1_000_000) -> Checked:
        """Run the verification of the service."""
        return verify(self.database, self.checkpoints, first, limit)


def checkpoint(note: str, keys: Sequence[Key]) -> Checkpoint:
    found = Checkpoint.of(note, keys)
    assert found is not None
    return found


def changed(line: bytes, **fields: Any) -> bytes:
    return json.dumps(json.loads(line) | fields).encode() + b"\n"
