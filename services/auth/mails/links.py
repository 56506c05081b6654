"""Links in mails: a token of 256 bits that is good once, for a while, for what it was made for."""

import hashlib
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
from shared.work.duties import IsStopping

TOKEN_BYTES = 32


class Purpose(StrEnum):
    """What a link is good for."""

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
    """Makes, looks at and uses the tokens. Every method works inside the caller's transaction.

    Whoever changes an account as well locks the account first, so that two never wait for each other.
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
        """A new link in place of the one before of the same purpose for the same account or address."""
        token, created = secrets.token_urlsafe(TOKEN_BYTES), now()
        expires = created + LIFETIMES[purpose]
        made = MailToken(
            kind=purpose,
            subject=subject,
            email=email,
            token_hash=_hash(token),
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
        """What a token is good for, without using it; InvalidLink when it is good for nothing."""
        good = MAIL_TOKENS.c.token_hash == _hash(token), MAIL_TOKENS.c.expires > now()
        found = select(MAIL_TOKENS).where(*good, MAIL_TOKENS.c.kind.in_(purposes))
        row = session.connection().execute(found).first()
        if row is None:
            raise InvalidLink
        return row

    def use(self, session: Session, row: Row[Any]) -> None:
        """Use up a token that was looked at; of several who try at once, one succeeds."""
        mine = MAIL_TOKENS.c.id == row.id, MAIL_TOKENS.c.token_hash == row.token_hash
        if session.connection().execute(delete(MAIL_TOKENS).where(*mine)).rowcount != 1:
            raise InvalidLink

    def details_of(self, row: Row[Any]) -> dict[str, Any]:
        return self.opened(row.id, row.details)

    def opened(self, row_id: str, details: str) -> dict[str, Any]:
        opened: dict[str, Any] = json.loads(self._details.open(row_id, details))
        return opened


def forget_links(session: Session, account_id: str) -> None:
    """Let no link for this account count that was sent before its password or address changed."""
    session.connection().execute(delete(MAIL_TOKENS).where(MAIL_TOKENS.c.subject == account_id))


def delete_expired_links(database: Database, is_stopping: IsStopping) -> None:
    """What a duty does: delete what nobody has used in time."""
    number = EXPIRED_PER_CHANGE_MAX
    while number == EXPIRED_PER_CHANGE_MAX and not is_stopping():
        with database.transaction() as session:
            number = len(delete_expired(session, MAIL_TOKENS.c.id, MAIL_TOKENS.c.expires <= now()))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
