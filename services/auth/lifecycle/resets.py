"""Password resets through a link in an e-mail."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlmodel import Session

from services.auth.accounts.accounts import locked_account
from services.auth.credentials.devices import forget_devices
from services.auth.credentials.passwords import Passwords
from services.auth.credentials.policy import PasswordPolicy
from services.auth.errors import InvalidLink
from services.auth.events import tell_changed
from services.auth.factors.challenges import close_challenges
from services.auth.factors.factors import Factors
from services.auth.lifecycle.claims import claim
from services.auth.mails.links import Links, Purpose, forget_links
from services.auth.mails.mails import Mails, Template
from services.auth.models import Account
from services.auth.sessions.sessions import Sessions
from shared.data.database import Database
from shared.events import Trail


@dataclass(frozen=True, slots=True)
class PasswordResets:
    """Sets a new password for the holder of a link, without signing in: a second factor is still needed."""

    database: Database
    passwords: Passwords
    policy: PasswordPolicy
    sessions: Sessions
    factors: Factors
    links: Links
    mails: Mails

    async def reset(self, token: str, password: str, trail: Trail) -> None:
        """Set the password, and end everything that was opened with the old one."""
        row = await self.database.read(self._begin, token, password)
        after = await self.passwords.hash(password)
        await self.database.run(self._finish, row, after, trail)

    def _begin(self, session: Session, token: str, password: str) -> Row[Any]:
        """Check the link before hashing, which is expensive and would otherwise be open to anyone."""
        row = self.links.look_at(session, (Purpose.RESET,), token)
        account = session.get(Account, row.subject)
        names = () if account is None else (account.email, account.username)
        self.policy.require(password, "new_password", *names)
        return row

    def _finish(self, session: Session, row: Row[Any], after: str, trail: Trail) -> None:
        account = locked_account(session, row.subject)
        if account is None or not account.may_sign_in or account.email != row.email:
            raise InvalidLink
        self.links.use(session, row)
        forget_links(session, account.id)
        if not account.email_verified:  # the link was sent to this address, so its owner has it
            claim(session, account, self.sessions, self.factors)
        account.choose_password(after)
        self.sessions.end_all(session, account)
        forget_devices(session, account.id)
        close_challenges(session, account.id)
        account.touch()
        tell_changed(session, account)
        self.mails.send(session, Template.PASSWORD_CHANGED, account.email, account_id=account.id)
        trail.user_id = trail.resource = account.id
        trail.write(session)
