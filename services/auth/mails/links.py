"""Links in mails: a token of 256 bits, valid once, for a limited time and one purpose."""

import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, delete, select
from sqlmodel import Session

from services.auth.errors import InvalidLink
from services.auth.models import EXPIRED_PER_CHANGE_MAX, MAIL_TOKENS, MailToken, delete_expired
from services.auth.settings import Settings
from shared.clock import now
from shared.data.database import Database, insert_into
from shared.data.sealed import SealedColumn, Sealer
from shared.hashing import sha256_hex
from shared.work.duties import IsStopping

TOKEN_BYTES = 32


class Purpose(StrEnum):
    """What a link may be used for."""

    VERIFY = "verify_email"
    RESET = "reset_password"
    CHANGE = "change_email"
    REGISTER = "registration"
    INVITE = "invitation"


LIFETIMES = {
    Purpose.VERIFY: timedelta(hours=24),
    Purpose.RESET: timedelta(minutes=30),
    Purpose.CHANGE: timedelta(hours=24),
    Purpose.REGISTER: timedelta(hours=24),
    Purpose.INVITE: timedelta(days=7),
}
# The pages that the links lead to.
PAGES = {
    Purpose.VERIFY: "/auth/confirm",
    Purpose.RESET: "/auth/reset",
    Purpose.CHANGE: "/auth/confirm",
    Purpose.REGISTER: "/auth/confirm",
    Purpose.INVITE: "/auth/invitation",
}


@dataclass(frozen=True, slots=True)
class Link:
    url: str
    expires: datetime


class Links:
    """Issues, looks up and uses the tokens. Every method runs inside the caller's transaction.

    A caller that also changes an account locks the account first, so that two never deadlock.
    """

    def __init__(self, settings: Settings) -> None:
        self._origin = settings.link_origin
        sealer = Sealer(settings.service, [settings.key_secret.get_secret_value()])
        self._details = SealedColumn(sealer, MAIL_TOKENS.c.details)

    def issue(
        self,
        session: Session,
        purpose: Purpose,
        subject: str,
        email: str,
        *,
        details: Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> Link:
        """Create a link, replacing an earlier one of the same purpose and subject."""
        token, created = secrets.token_urlsafe(TOKEN_BYTES), now()
        expires = created + LIFETIMES[purpose]
        made = MailToken(
            kind=purpose,
            subject=subject,
            email=email,
            token_hash=sha256_hex(token),
            created_by=by,
            created=created,
            expires=expires,
        )
        if details is not None:
            made.details = self._details.seal(made.id, json.dumps(details))
        row = made.model_dump()
        adding = insert_into(session, MAIL_TOKENS).values(row)
        anew = {name: value for name, value in row.items() if name not in ("kind", "subject")}
        session.connection().execute(
            adding.on_conflict_do_update(index_elements=["subject", "kind"], set_=anew)
        )
        return Link(f"{self._origin}{PAGES[purpose]}?token={token}", expires)

    def look_at(self, session: Session, purposes: Collection[Purpose], token: str) -> Row[Any]:
        """Return the row of a valid token without using it; otherwise raise InvalidLink."""
        good = MAIL_TOKENS.c.token_hash == sha256_hex(token), MAIL_TOKENS.c.expires > now()
        found = select(MAIL_TOKENS).where(*good, MAIL_TOKENS.c.kind.in_(purposes))
        row = session.connection().execute(found).first()
        if row is None:
            raise InvalidLink
        return row

    def use(self, session: Session, row: Row[Any]) -> None:
        """Consume a token from `look_at`; of several concurrent calls exactly one succeeds."""
        mine = MAIL_TOKENS.c.id == row.id, MAIL_TOKENS.c.token_hash == row.token_hash
        if session.connection().execute(delete(MAIL_TOKENS).where(*mine)).rowcount != 1:
            raise InvalidLink

    def details_of(self, row: Row[Any]) -> dict[str, Any]:
        return self.opened(row.id, row.details)

    def opened(self, row_id: str, details: str) -> dict[str, Any]:
        opened: dict[str, Any] = json.loads(self._details.open(row_id, details))
        return opened


def forget_links(session: Session, account_id: str) -> None:
    """Invalidate all links of this account."""
    session.connection().execute(delete(MAIL_TOKENS).where(MAIL_TOKENS.c.subject == account_id))


def delete_expired_links(database: Database, is_stopping: IsStopping) -> None:
    """Delete expired links."""
    number = EXPIRED_PER_CHANGE_MAX
    while number == EXPIRED_PER_CHANGE_MAX and not is_stopping():
        with database.transaction() as session:
            number = len(delete_expired(session, MAIL_TOKENS.c.id, MAIL_TOKENS.c.expires <= now()))
