"""Addresses to which nothing is sent: they do not exist, their owner complained, or an admin stopped them.

An address is kept only as an HMAC, so a copy of the database does not say whose it is.
"""

import hmac
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, select
from sqlmodel import Session

from services.notifications.kinds import Channel
from services.notifications.models import SUPPRESSIONS
from services.notifications.reasons import KEPT_FOR, Reason, stops
from services.notifications.settings import Settings
from shared.clock import now
from shared.data.database import insert_into, one_row
from shared.errors import NotFound
from shared.ids import new_id

_KINDS = {Channel.EMAIL: b"address ", Channel.SMS: b"phone "}


class Suppressions:
    """Stores and looks up suppressions, within the caller's transaction."""

    def __init__(self, settings: Settings) -> None:
        secrets = (settings.key_secret, settings.key_secret_previous)
        self._keys = [one.get_secret_value().encode() for one in secrets if one is not None]

    def hash(self, channel: Channel, to: str) -> str:
        """Return the hash by which an address is recognised."""
        return self._hashes(channel, to)[0]

    def _hashes(self, channel: Channel, to: str) -> list[str]:
        """Return the hashes under the key and the previous key, under which it may have been stored."""
        told = _KINDS[channel] + to.strip().casefold().encode()
        return [hmac.digest(key, told, "sha256").hex() for key in self._keys]

    def reason_for(self, session: Session, channel: Channel, to: str, *, is_security: bool) -> Reason | None:
        """Return why nothing may be sent to this address; None if it may."""
        found = self.reasons(session, self._hashes(channel, to))
        return next((reason for _, reason in found if stops(reason, is_security=is_security)), None)

    def reasons_of(
        self, session: Session, channel: Channel, addresses: Collection[str]
    ) -> dict[str, list[Reason]]:
        """Return the reasons that apply now to each of these addresses, with one statement."""
        hashes = {one: self._hashes(channel, one) for one in addresses}
        known: dict[str, list[Reason]] = {}
        for to_hash, reason in self.reasons(session, [one for some in hashes.values() for one in some]):
            known.setdefault(to_hash, []).append(reason)
        return {to: [reason for one in mine for reason in known.get(one, ())] for to, mine in hashes.items()}

    def reasons(self, session: Session, hashes: Collection[str]) -> list[tuple[str, Reason]]:
        """Return the reasons that apply now, with the hashes of their addresses."""
        table = SUPPRESSIONS.c
        lasting = or_(table.until.is_(None), table.until > now())
        columns = select(table.to_hash, table.reason).where(table.to_hash.in_(hashes), lasting)
        rows = session.connection().execute(columns.order_by(table.to_hash, table.reason))
        return [(row.to_hash, Reason(row.reason)) for row in rows]

    def add(
        self,
        session: Session,
        channel: Channel,
        to: str,
        reason: Reason,
        *,
        by: str | None = None,
        days: int | None = None,
    ) -> dict[str, Any]:
        """Send nothing to this address from now on; return the row. Adding it again replaces its end."""
        return self.add_hash(session, channel, self.hash(channel, to), reason, by=by, days=days)

    def add_hash(
        self,
        session: Session,
        channel: Channel,
        to_hash: str,
        reason: Reason,
        *,
        by: str | None = None,
        days: int | None = None,
    ) -> dict[str, Any]:
        kept = KEPT_FOR.get(reason) if days is None else timedelta(days=days)
        until: datetime | None = None if kept is None else now() + kept
        row = {"id": new_id(), "to_hash": to_hash, "channel": channel, "reason": reason, "by": by}
        adding = insert_into(session, SUPPRESSIONS).values(**row, created=now(), until=until)
        again = {name: adding.excluded[name] for name in ("by", "until")}
        stored = adding.on_conflict_do_update(index_elements=["to_hash", "reason"], set_=again)
        added = session.connection().execute(stored.returning(SUPPRESSIONS)).one()
        return added._asdict()

    def remove(self, session: Session, suppression_id: str) -> dict[str, Any]:
        """Remove one reason, and return its row."""
        mine = SUPPRESSIONS.c.id == suppression_id
        row = one_row(session, select(SUPPRESSIONS).where(mine))
        if row is None or not session.connection().execute(delete(SUPPRESSIONS).where(mine)).rowcount:
            raise NotFound
        return row

    def lift(self, session: Session, channel: Channel, to: str) -> list[str]:
        """Send to this address again; return the reasons that it had."""
        mine = delete(SUPPRESSIONS).where(SUPPRESSIONS.c.to_hash.in_(self._hashes(channel, to)))
        gone: Iterable[str] = session.connection().execute(mine.returning(SUPPRESSIONS.c.reason)).scalars()
        return sorted(set(gone))
