"""E-mail addresses: confirming and changing them through a link sent to the address."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Row
from sqlmodel import Session

from services.auth.accounts.accounts import account_named, add_account, flush_names, locked_account
from services.auth.errors import AlreadyVerified, InvalidLink, SignInToConfirm
from services.auth.events import tell_changed
from services.auth.mails.links import Links, Purpose, forget_links
from services.auth.mails.mails import Mails, Template
from services.auth.mails.verification import PER_ADDRESS, ask_to_verify, to_address
from services.auth.models import ACCOUNTS, Account
from services.auth.sessions.own_password import OwnPassword, Person
from services.auth.sessions.sessions import Sessions
from shared.caller import Caller
from shared.clock import now
from shared.events import Trail

AFTER = "after"  # the name of what is kept for a new account besides its fields
CONFIRMED_BY = (Purpose.VERIFY, Purpose.CHANGE, Purpose.REGISTER)


class Confirmed(NamedTuple):
    """A confirmed address, and for a new account the page its owner was going to; empty if there is none."""

    email: str
    after: str | None


@dataclass(frozen=True, slots=True)
class Addresses:
    """Confirms and changes the addresses of accounts."""

    own_password: OwnPassword
    sessions: Sessions
    links: Links
    mails: Mails

    def send_again(self, session: Session, caller: Caller) -> None:
        """Send the link that confirms the caller's address again."""
        account = self.sessions.account_of(session, caller)
        if account.email_verified:
            raise AlreadyVerified
        ask_to_verify(session, account, self.links, self.mails)

    async def ask_to_change(self, person: Person, email: str, password: str, trail: Trail) -> None:
        """Send a link to the new address; until it is used, the account keeps its current address.

        If another account has that address, an e-mail to it says so, and the response is the same.
        """

        def offer(session: Session, account: Account) -> None:
            trail.write(session)
            if account.email == email or PER_ADDRESS.wait(session, to_address(email)):
                return
            if account_named(session, email) is not None:
                self.mails.send(session, Template.EMAIL_TAKEN, email)
                return
            link = self.links.issue(session, Purpose.CHANGE, account.id, email)
            self.mails.send(session, Template.CHANGE_EMAIL, email, account_id=account.id, link=link)

        await self.own_password.change(person, password, offer)

    def confirm(self, session: Session, token: str, person: Person | None, trail: Trail) -> Confirmed:
        """Confirm the address that the link was sent to, and return it.

        The address of an existing account is confirmed only for a person who is signed in to it. Otherwise a
        stranger who registered it would share the confirmed account with its owner.
        """
        row = self.links.look_at(session, CONFIRMED_BY, token)
        after = None
        if row.kind == Purpose.REGISTER:
            account, after = self._make(session, row)
        else:
            account = self._confirm(session, row, person)
        trail.add(purpose=row.kind)
        trail.user_id = trail.resource = account.id
        trail.write(session)
        return Confirmed(row.email, after)

    def look_at(self, session: Session, token: str, person: Person | None) -> tuple[str, bool]:
        """Return the address of a link and whether this person may use it, or raise InvalidLink."""
        row = self.links.look_at(session, CONFIRMED_BY, token)
        is_theirs = person is not None and person.account_id == row.subject
        return row.email, is_theirs or row.kind == Purpose.REGISTER

    def _confirm(self, session: Session, row: Row[Any], person: Person | None) -> Account:
        account = locked_account(session, row.subject)
        is_change = row.kind == Purpose.CHANGE
        if account is None or not account.may_sign_in or (account.email != row.email and not is_change):
            raise InvalidLink
        if person is None or person.account_id != account.id:
            raise SignInToConfirm
        self.sessions.account_in(session, account.id, person.session_id)
        self.links.use(session, row)
        if is_change:
            forget_links(session, account.id)
            self.mails.send(session, Template.EMAIL_CHANGED, account.email, account_id=account.id)
        account.address(row.email, verified=now())
        account.touch()
        flush_names(session)
        tell_changed(session, account)
        return account

    def _make(self, session: Session, row: Row[Any]) -> tuple[Account, str]:
        """Create the account requested when the link was sent, without its username if that is now taken."""
        self.links.use(session, row)
        asked = self.links.details_of(row)
        username, after = asked.pop("username"), asked.pop(AFTER, "")  # older links lack the latter
        account = Account(**asked, verified=now())
        account.email = row.email
        if username is not None and not is_username_taken(session, username):
            account.name(username)
        return add_account(session, account), after


def is_username_taken(session: Session, username: str) -> bool:
    found = (
        ACCOUNTS.select().with_only_columns(ACCOUNTS.c.id).where(ACCOUNTS.c.username_key == username.lower())
    )
    return session.connection().execute(found).first() is not None
