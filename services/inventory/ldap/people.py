"""The users of WorkSpaces, as the directories know them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from services.inventory.ldap import servers
from services.inventory.models import PEOPLE, AccountStatus


def named(session: Session, user_names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the people with these names, by case-folded name."""
    keys = {name.casefold() for name in user_names}
    found = select(PEOPLE).where(PEOPLE.c.user_key.in_(keys))
    return {row["user_key"]: dict(row) for row in session.connection().execute(found).mappings()}


class Users:
    """Finds the users who are no longer in any directory, if all directories were read."""

    def __init__(self, session: Session, user_names: Sequence[str]) -> None:
        active = [row for row in servers.live(session) if row["status"] != AccountStatus.DISABLED]
        good = AccountStatus.CONNECTED
        self._is_known = bool(active) and all(row["last_sync"] and row["status"] == good for row in active)
        self._read = min((row["last_sync"] for row in active), default=None) if self._is_known else None
        self._people = named(session, user_names) if self._is_known else {}

    def missing(self, user_name: str, first_seen: datetime) -> dict[str, str] | None:
        """Return the evidence that no directory has the user; None if one has, or not all were read.

        A directory is searched only for users whose WorkSpace is known at that time.
        """
        if self._read is None or first_seen >= self._read or user_name.casefold() in self._people:
            return None
        return {"user_name": user_name, "directories_read": self._read.date().isoformat()}
