"""Invitations: an admin enters an address, and its owner chooses the password."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, delete, select
from sqlmodel import Session

from services.auth.accounts.accounts import account_named, add_account
from services.auth.credentials.passwords import Passwords
from services.auth.credentials.policy import PasswordPolicy
from services.auth.errors import EmailTaken, InvalidLink
from services.auth.lifecycle.schemas import AcceptInvitation, InvitationOut, Invite
from services.auth.mails.links import Links, Purpose
from services.auth.mails.mails import Mails, Template
from services.auth.models import MAIL_TOKENS, Account
from shared.caller import Caller
from shared.clock import now
from shared.data.database import Database
from shared.errors import NotFound
from shared.events import Trail
from shared.http.schemas import Page
from shared.lists.pagination import PageQuery, paginate

_INVITATION = MAIL_TOKENS.c.kind == Purpose.INVITE


@dataclass(frozen=True, slots=True)
class Invitations:
    """Sends, lists, withdraws and accepts invitations. No account exists before acceptance."""

    database: Database
    passwords: Passwords
    policy: PasswordPolicy
    links: Links
    mails: Mails

    def send(self, session: Session, body: Invite, caller: Caller) -> InvitationOut:
        """Invite an address, or invite it again; only the newest link is valid."""
        if account_named(session, body.email) is not None:
            raise EmailTaken
        details = body.model_dump(mode="json", exclude={"email"})
        link = self.links.issue(
            session, Purpose.INVITE, body.email, body.email, details=details, by=caller.id
        )
        self.mails.send(session, Template.INVITATION, body.email, link=link)
        sent = select(MAIL_TOKENS).where(_INVITATION, MAIL_TOKENS.c.subject == body.email)
        return self._shown(session.connection().execute(sent).one()._asdict())

    def list(self, session: Session, query: PageQuery) -> Page[InvitationOut]:
        return paginate(session, select(MAIL_TOKENS).where(_INVITATION), MAIL_TOKENS.c.id, query, self._shown)

    def withdraw(self, session: Session, invitation_id: str) -> None:
        gone = delete(MAIL_TOKENS).where(_INVITATION, MAIL_TOKENS.c.id == invitation_id)
        if session.connection().execute(gone).rowcount != 1:
            raise NotFound

    async def accept(self, body: AcceptInvitation, trail: Trail) -> Account:
        """Create the account with the password that its owner has chosen."""
        row = await self.database.read(self._begin, body)
        password_hash = await self.passwords.hash(body.password)
        return await self.database.run(self._make, row, body, password_hash, trail)

    def _begin(self, session: Session, body: AcceptInvitation) -> Row[Any]:
        row = self.links.look_at(session, (Purpose.INVITE,), body.token)
        self.policy.require(body.password, "password", row.email, body.username)
        return row

    def _make(
        self, session: Session, row: Row[Any], body: AcceptInvitation, password_hash: str, trail: Trail
    ) -> Account:
        inviter = session.get(Account, row.created_by)
        if inviter is None or not inviter.is_active_admin:
            raise InvalidLink
        self.links.use(session, row)
        invited = self.links.details_of(row)
        account = Account(**invited, email=row.email, password_hash=password_hash, verified=now())
        account.first_name = body.first_name or account.first_name
        account.last_name = body.last_name or account.last_name
        account.name(body.username)
        add_account(session, account)
        trail.user_id = trail.resource = account.id
        trail.add(role=account.role, invited_by=inviter.id)
        trail.write(session)
        return account

    def _shown(self, row: dict[str, Any]) -> InvitationOut:
        return InvitationOut.unchecked(row, role=self.links.opened(row["id"], row["details"])["role"])
