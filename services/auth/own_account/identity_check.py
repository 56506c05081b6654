"""The identity check of a signed-in user, for operations that need a recent sign-in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlmodel import Session

from services.auth.errors import InvalidCode, UnknownPasskey
from services.auth.factors.factors import Factors
from services.auth.models import Account
from services.auth.passkeys.own_passkeys import OwnPasskeys
from services.auth.sessions.own_password import OwnPassword, Person
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.sign_in import PASSKEY, factor_attempt
from shared.data.database import Database
from shared.events import Trail

T = TypeVar("T")
Renew = Callable[[Session, Account, str], T]  # the last argument is the new `amr`


@dataclass(frozen=True, slots=True)
class Ways:
    """The methods by which a user can confirm their identity."""

    has_password: bool
    is_code_needed: bool  # in addition to the password
    methods: list[str]


@dataclass(frozen=True, slots=True)
class IdentityCheck:
    """Confirms the identity of a signed-in user; `renew` records it in the same transaction."""

    database: Database
    own_password: OwnPassword
    sessions: Sessions
    factors: Factors
    own_passkeys: OwnPasskeys

    async def by_password(
        self, person: Person, password: str, code: str | None, trail: Trail, renew: Renew[T]
    ) -> T:
        """Confirm by password and, if a second factor is required, by a code."""

        def work(session: Session, account: Account) -> tuple[T] | None:
            amr = "pwd"
            if self.factors.are_needed(session, account.id):
                factor_attempt(account.id).count(session)
                method = self.factors.passes(session, account.id, code or "")
                if method is None:
                    return None  # not raised, so that the counted attempt is committed
                factor_attempt(account.id).succeeded(session)
                amr = f"pwd {method}"
            trail.resource = person.session_id
            trail.add(amr=amr)
            trail.write(session)
            return (renew(session, account, amr),)

        done = await self.own_password.step_up(person, password, work)
        if done is None:
            raise InvalidCode
        return done[0]

    async def by_passkey(
        self, person: Person, credential: dict[str, Any], trail: Trail, renew: Renew[T]
    ) -> T:
        """Confirm by a passkey of the same account, which counts as two factors."""

        def work(session: Session, account: Account) -> T:
            if account.id != person.account_id:
                raise UnknownPasskey
            self.sessions.account_in(session, account.id, person.session_id)
            return renew(session, account, PASSKEY)

        return await self.own_passkeys.show(credential, trail, work)

    async def ways_of(self, person: Person) -> Ways:
        """Return the methods available to the user."""
        return await self.database.read(self._ways_of, person)

    def _ways_of(self, session: Session, person: Person) -> Ways:
        account = self.sessions.account_in(session, person.account_id, person.session_id)
        is_needed = self.factors.are_needed(session, account.id)
        return Ways(
            account.password_hash is not None, is_needed, self.factors.methods_of(session, account.id)
        )
