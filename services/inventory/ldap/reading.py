"""The job that reads a directory: it keeps those people who have a WorkSpace."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import delete, select
from sqlmodel import Session

from services.inventory.ldap import servers
from services.inventory.ldap.client import Attributes, LdapFailed, connected
from services.inventory.ldap.filters import attribute_of, encoded_for_all
from services.inventory.ldap.servers import LdapSecrets
from services.inventory.models import PEOPLE, WORKSPACES, AccountStatus
from services.inventory.settings import Settings
from shared.clock import now
from shared.data.database import Database, insert_into
from shared.errors import NotFound
from shared.work.jobs import CannotSucceed, Jobs, Running

JOB, SCHEDULE = "ldap", "schedule"
AT_ONCE = 200
NAMES = {
    "display_name": "displayName",
    "email": "mail",
    "department": "department",
    "job_title": "title",
    "manager": "manager",
}


class DirectoryReader:
    """Runs jobs of the kind `ldap`; an attempt after a kill reads the directory again."""

    def __init__(self, database: Database, secrets: LdapSecrets, settings: Settings) -> None:
        self._database, self._secrets, self._settings = database, secrets, settings

    async def run(self, job: Running) -> dict[str, Any]:
        server_id, started = job.subject, now()
        try:
            row = await self._database.read(servers.read, server_id)
            seen = await self._read(job, row)
        except NotFound:
            raise CannotSucceed("The server was deleted.") from None
        except LdapFailed as error:
            # An outage must not end the scheduled reading; with a refused password it would lock the account.
            outcome = AccountStatus.ERROR if error.is_refused else AccountStatus.LIMITED
            status = partial(servers.keep_status, server_id=server_id, status=outcome, detail=str(error))
            await job.do(status, cursor=None)
            raise CannotSucceed(str(error)) from error
        end = partial(_end, server_id=server_id, started=started, seen=seen)
        return {"seen": seen, "gone": await job.do(end, cursor=None, progress=seen, total=seen)}

    async def _read(self, job: Running, row: Mapping[str, Any]) -> int:
        """Save the people page by page; return how many entries the search found."""
        attribute, seen, page = attribute_of(row["search_filter"]).lower(), 0, list[Attributes]()
        users = await self._database.read(_users)

        async def keep() -> None:
            work = partial(_keep, server_id=row["id"], attribute=attribute, found=[*page])
            await job.do(work, cursor=None, progress=seen, note=f"{seen} people")
            page.clear()

        async with connected(self._settings, row["server_url"]) as directory:
            await directory.bind(row["bind_username"], servers.password_of(row, self._secrets))
            wanted = [attribute, *NAMES.values()]
            search_filter = encoded_for_all(row["search_filter"])
            async for entry in directory.search(row["base_dn"], search_filter, wanted):
                seen += 1
                if entry.get(attribute, "").casefold() in users:
                    page.append(entry)
                if len(page) == AT_ONCE:
                    await keep()
            await keep()
        return seen


def start_all(session: Session, jobs: Jobs) -> None:
    """Read all servers that are in use, except those that are being read or whose test failed."""
    table = jobs.table
    unfinished = select(table.c.subject).where(table.c.kind == JOB, table.c.ended.is_(None))
    running = {*session.connection().execute(unfinished).scalars()}
    out = (AccountStatus.DISABLED, AccountStatus.ERROR)
    for row in servers.live(session):
        if row["id"] not in running and row["status"] not in out:
            jobs.start(session, JOB, row["id"], SCHEDULE)


def _users(session: Session) -> set[str]:
    """Return the case-folded names of all users of WorkSpaces."""
    names = select(WORKSPACES.c.user_name).distinct()
    return {name.casefold() for name in session.connection().execute(names).scalars()}


def _keep(session: Session, server_id: str, attribute: str, found: Sequence[Attributes]) -> None:
    people = {entry[attribute].casefold(): entry for entry in found}
    at = now()
    rows = [
        {
            "user_key": key,
            "server": server_id,
            "seen": at,
            **{name: people[key].get(theirs.lower()) for name, theirs in NAMES.items()},
        }
        for key in people
    ]
    for row in rows:
        values = {name: value for name, value in row.items() if name != "user_key"}
        upsert = insert_into(session, PEOPLE).values(row)
        session.connection().execute(upsert.on_conflict_do_update(index_elements=["user_key"], set_=values))


def _end(session: Session, server_id: str, started: datetime, seen: int) -> int:
    """Delete the people whom a complete read did not find, and save the server's status."""
    stale = delete(PEOPLE).where(PEOPLE.c.server == server_id, PEOPLE.c.seen < started)
    gone = session.connection().execute(stale).rowcount
    detail = None if seen else "The bind succeeded, but the search found no user."
    status = AccountStatus.CONNECTED if seen else AccountStatus.LIMITED
    servers.keep_status(session, server_id, status, detail, synced=started if seen else None)
    return int(gone)
