"""Source of the directories that WorkSpaces belong to."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlmodel import Session

from services.inventory.aws import Call
from services.inventory.models import DIRECTORIES
from services.inventory.sync.source import Fetched, Place, Reading, Values, text

ACTION = "workspaces:DescribeWorkspaceDirectories"


class Directories:
    """Reads `DescribeWorkspaceDirectories`."""

    async def fetch(self, reading: Reading, cursor: str | None) -> Fetched:
        after = {"NextToken": cursor} if cursor else {}
        call = Call("workspaces", "describe_workspace_directories", ACTION, after)
        answer = await reading.aws.call(reading.target, reading.place.region, call, reading.tally)
        rows = {
            str(one["DirectoryId"]): {
                "directory_id": text(one["DirectoryId"], 60),
                "name": text(one.get("DirectoryName"), 300),
                "alias": text(one.get("Alias"), 300),
                "type": text(one.get("DirectoryType"), 60),
                "state": text(one.get("State"), 60),
            }
            for one in answer.get("Directories", ())
        }
        return Fetched([*rows.values()], answer.get("NextToken"))

    def keep(self, session: Session, place: Place, rows: Sequence[Values]) -> int:
        execute, at = session.connection().execute, place.seen()
        ids = [row["directory_id"] for row in rows]
        here = _in(place)
        known = {
            row["directory_id"]: row
            for row in execute(
                select(DIRECTORIES).where(*here, DIRECTORIES.c.directory_id.in_(ids))
            ).mappings()
        }
        changed = 0
        for row in rows:
            before = known.get(row["directory_id"])
            if before is None:
                execute(
                    insert(DIRECTORIES).values(account=place.account, region=place.region, seen=at, **row)
                )
            elif any(before[name] != value for name, value in row.items()):
                one = DIRECTORIES.c.directory_id == row["directory_id"]
                execute(update(DIRECTORIES).where(*here, one).values(**row))
            else:
                continue
            changed += 1
        execute(update(DIRECTORIES).where(*here, DIRECTORIES.c.directory_id.in_(ids)).values(seen=at))
        return changed

    def forget(self, session: Session, place: Place, most: int) -> int:
        """Delete deregistered directories; these have no WorkSpaces, so nothing refers to them."""
        old = (
            select(DIRECTORIES.c.directory_id)
            .where(*_in(place), DIRECTORIES.c.seen < place.started)
            .limit(most)
        )
        ids = session.connection().execute(old).scalars().all()
        gone = delete(DIRECTORIES).where(*_in(place), DIRECTORIES.c.directory_id.in_(ids))
        session.connection().execute(gone)
        return len(ids)


def _in(place: Place) -> tuple[ColumnElement[bool], ...]:
    return DIRECTORIES.c.account == place.account, DIRECTORIES.c.region == place.region
