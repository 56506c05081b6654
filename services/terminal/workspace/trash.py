"""The trash: deleted files and folders, kept in the account's area until they are restored or expire.

A row is written before the content moves to the trash, and removed after the content is gone. A crash between
the two leaves a row without content, which is not found and expires; content without a row cannot exist.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import delete, select, update
from sqlmodel import Session

from services.terminal.models import TRASH
from services.terminal.workspace.paths import Parts, parts_of
from services.terminal.workspace.tree import Entry, Tree
from services.terminal.workspace.walks import remove
from services.terminal.workspace.workspaces import Workspaces
from shared.clock import now
from shared.data.database import Database, one_row
from shared.data.statements import insert_row
from shared.errors import NotFound, Problem

FOLDER = "trash"
SWEEP_ROWS = 100
RETRIED_AFTER = timedelta(days=1)

log = structlog.get_logger(__name__)


class TrashCan:
    def __init__(self, database: Database, workspaces: Workspaces, days: float) -> None:
        self._database, self._workspaces, self._kept = database, workspaces, timedelta(days=days)

    async def put(self, owner: str, parts: Parts) -> dict[str, Any]:
        """Move a file or folder to the trash; return its row."""
        entry: Entry = await self._workspaces.run(owner, Tree.entry, parts)
        row = await self._database.run(_insert, owner, entry, self._kept)
        try:
            await self._workspaces.run(owner, _move_in, parts, row["id"])
        except BaseException:
            await self._database.run(_forget, [row["id"]])
            raise
        return row

    async def restore(self, owner: str, trash_id: str) -> Entry:
        """Move something back to where it was; raises Exists if that path is taken."""
        row = await self._database.read(_mine, owner, trash_id)
        parts = parts_of(row["path"])
        async with self._workspaces.quota.room(owner, 0, len(parts)):  # folders that are created on the way
            entry = await self._workspaces.run(owner, _move_out, trash_id, parts)
        await self._database.run(_forget, [trash_id])
        return entry

    async def purge(self, owner: str, trash_id: str) -> None:
        await self._database.read(_mine, owner, trash_id)
        await self._remove(owner, [trash_id])

    async def empty(self, owner: str) -> None:
        while ids := await self._database.read(_some_of, owner):
            await self._remove(owner, ids)

    async def _remove(self, owner: str, ids: list[str]) -> None:
        await self._workspaces.run(owner, _remove_content, ids)
        await self._database.run(_forget, ids)
        self._workspaces.quota.forget(owner)

    def sweep(self) -> None:
        """Remove what has expired; called by a duty in its own thread.

        What cannot be removed is tried again a day later, so that the rest is removed.
        """
        with self._database.transaction(write=False) as session:
            rows = _expired(session)
        removed, failed = list[str](), list[str]()
        for row in rows:
            try:
                self._workspaces.at_once(row["owner"], _remove_content, [row["id"]])
                removed.append(row["id"])
            except (Problem, OSError) as error:
                log.warning("trash_not_removed", owner=row["owner"], trash_id=row["id"], error=repr(error))
                failed.append(row["id"])
        if rows:
            with self._database.transaction() as session:
                _forget(session, removed)
                later = update(TRASH).where(TRASH.c.id.in_(failed)).values(until=now() + RETRIED_AFTER)
                session.connection().execute(later)


def _insert(session: Session, owner: str, entry: Entry, kept: timedelta) -> dict[str, Any]:
    values = {"path": entry.path, "kind": entry.kind, "size": entry.size, "until": now() + kept}
    return insert_row(session, TRASH, owner=owner, **values)


def _move_in(tree: Tree, parts: Parts, trash_id: str) -> None:
    with tree.in_area(FOLDER) as folder:
        tree.take_out(parts, folder, trash_id)


def _move_out(tree: Tree, trash_id: str, parts: Parts) -> Entry:
    with tree.in_area(FOLDER) as folder:
        return tree.put_back(folder, trash_id, parts)


def _remove_content(tree: Tree, ids: list[str]) -> None:
    with tree.in_area(FOLDER) as folder:
        for one in ids:
            with suppress(FileNotFoundError):  # removed by an earlier attempt
                remove(folder, one)


def _mine(session: Session, owner: str, trash_id: str) -> dict[str, Any]:
    row = one_row(session, select(TRASH).where(TRASH.c.id == trash_id, TRASH.c.owner == owner))
    if row is None:
        raise NotFound
    return row


def _some_of(session: Session, owner: str) -> list[str]:
    found = select(TRASH.c.id).where(TRASH.c.owner == owner).limit(SWEEP_ROWS)
    return [row.id for row in session.connection().execute(found)]


def _expired(session: Session) -> list[dict[str, Any]]:
    found = select(TRASH).where(TRASH.c.until < now()).order_by(TRASH.c.until).limit(SWEEP_ROWS)
    return [row._asdict() for row in session.connection().execute(found)]


def _forget(session: Session, ids: list[str]) -> None:
    session.connection().execute(delete(TRASH).where(TRASH.c.id.in_(ids)))
