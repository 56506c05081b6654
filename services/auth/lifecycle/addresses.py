"""E-mail addresses: confirmed by a link that was sent to them."""

from dataclasses import dataclass

from sqlmodel import Session

from services.auth.accounts.accounts import locked_account
from services.auth.errors import AlreadyVerified, InvalidLink
from services.auth.events import tell_changed
from services.auth.mails.links import Links, Purpose
from services.auth.mails.mails import Mails
from services.auth.mails.verification import ask_to_verify
from services.auth.sessions.sessions import Sessions
from shared.caller import Caller
from shared.clock import now
from shared.errors import InvalidToken
from shared.events import Trail


@dataclass(frozen=True, slots=True)
class Addresses:
    """What happens to the address of an account. Every method works inside the caller's transaction."""

    sessions: Sessions
    links: Links
    mails: Mails

    def send_again(self, session: Session, caller: Caller) -> None:
        """Send the link that confirms the caller's address once more."""
        account = self.sessions.account_of(session, caller)
        if account is None:
            raise InvalidToken
        if account.email_verified:
            raise AlreadyVerified
        ask_to_verify(session, account, self.links, self.mails)

    def confirm(self, session: Session, token: str, trail: Trail) -> str:
        """Confirm the address that the link was sent to; returns the address."""
        row = self.links.look_at(session, (Purpose.VERIFY,), token)
        account = locked_account(session, row.subject)
        if account is None or not account.may_sign_in or account.email != row.email:
            raise InvalidLink
        self.links.use(session, row)
        account.verified = now()
        account.touch()
        tell_changed(session, account)
        trail.user_id = trail.resource = account.id
        trail.write(session)
        address: str = row.email
        return address
