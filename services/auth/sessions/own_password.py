"""Changes that require the current password of the signed-in user."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

from sqlmodel import Session

from services.auth.credentials.password_attempts import attempt_in
from services.auth.credentials.passwords import Passwords
from services.auth.errors import WrongPassword
from services.auth.models import Account
from services.auth.sessions.browser import SignedInBrowser
from services.auth.sessions.sessions import Sessions
from shared.caller import Caller
from shared.data.database import Database

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in user: the account and its session."""

    account_id: str
    session_id: str | None

    @classmethod
    def of(cls, signed_in: Caller | SignedInBrowser) -> Self:
        if isinstance(signed_in, Caller):
            return cls(signed_in.id, signed_in.session_id)
        return cls(signed_in.account.id, signed_in.session_id)


@dataclass(frozen=True, slots=True)
class OwnPassword:
    """Checks the current password before a change. Hashing takes place between two transactions."""

    database: Database
    passwords: Passwords
    sessions: Sessions

    async def change(self, person: Person, password: str, work: Callable[[Session, Account], T]) -> T:
        """Check the password, then do the work in one transaction with the locked account."""
        return await self.finish(person, await self.check(person, password), work)

    async def step_up(self, person: Person, password: str, work: Callable[[Session, Account], T]) -> T:
        """Do the same, even in a session without all factors; the work then requires the missing ones."""
        before = await self._check(self._begin, person, password)
        return await self.finish(person, before, work)

    async def check(
        self, person: Person, password: str, first: Callable[[Account], None] | None = None
    ) -> str | None:
        """Count the attempt, then check the password; return the hash it matches.

        A session without all factors is refused. `first` may refuse before the attempt is counted.
        """

        def begin(session: Session, person: Person) -> str | None:
            self.sessions.require_complete(session, person.session_id)
            return self._begin(session, person, first)

        return await self._check(begin, person, password)

    async def _check(
        self, begin: Callable[[Session, Person], str | None], person: Person, password: str
    ) -> str | None:
        before = await self.database.run(begin, person)
        if not await self.passwords.matches(password, before):
            raise WrongPassword
        return before

    async def finish(self, person: Person, before: str | None, work: Callable[[Session, Account], T]) -> T:
        """Do the work, unless the password was changed while it was being checked."""
        return await self.database.run(self._finish, person, before, work)

    def _begin(
        self, session: Session, person: Person, first: Callable[[Account], None] | None = None
    ) -> str | None:
        account = self.sessions.account_in(session, person.account_id, person.session_id)
        if first is not None:
            first(account)
        attempt_in(person.session_id).count(session)
        return account.password_hash

    def _finish(
        self, session: Session, person: Person, before: str | None, work: Callable[[Session, Account], T]
    ) -> T:
        return work(session, self.unchanged(session, person, before))

    def unchanged(self, session: Session, person: Person, before: str | None) -> Account:
        """Return the locked account, unless its password or session has changed during the check."""
        account = self.sessions.locked_account_in(session, person.account_id, person.session_id)
        if account.password_hash != before:
            raise WrongPassword
        attempt_in(person.session_id).succeeded(session)
        return account
