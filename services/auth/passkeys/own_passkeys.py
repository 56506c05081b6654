"""Passkeys as their owners use them: added, removed, and used to sign in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlmodel import Session

from services.auth.accounts.accounts import locked_account
from services.auth.errors import UnknownPasskey
from services.auth.factors.factors import Factors
from services.auth.mails.mails import Mails, Template
from services.auth.models import Account
from services.auth.passkey_models import Passkey
from services.auth.passkeys.passkeys import Passkeys
from services.auth.sessions.own_password import Person
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.sign_in import PASSKEY
from shared.data.database import Database
from shared.errors import NotFound
from shared.events import Trail

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OwnPasskeys:
    """Operations on passkeys. Every attempt consumes its challenge, even a failed one."""

    database: Database
    sessions: Sessions
    passkeys: Passkeys
    factors: Factors
    mails: Mails

    def options(self, session: Session, person: Person) -> str:
        """Return the creation options for the browser, as JSON."""
        account = self.sessions.account_in(session, person.account_id, person.session_id)
        return self.passkeys.options_to_add(session, account)

    async def add(
        self, person: Person, name: str, credential: dict[str, Any], trail: Trail
    ) -> tuple[Passkey, list[str]]:
        """Add a passkey created with those options; the first factor comes with recovery codes."""
        use = self.passkeys.use_challenge
        challenge = await self.database.run(use, credential, person.account_id)

        def work(session: Session) -> tuple[Passkey, list[str]]:
            account = self.sessions.locked_account_in(session, person.account_id, person.session_id)
            made = self.passkeys.add(session, account.id, name, credential, challenge)
            self._tell(session, account, Template.FACTOR_ADDED)
            trail.resource = made.id
            trail.write(session)
            return made, self.factors.first_recovery_codes(session, account.id)

        return await self.database.run(work)

    def remove(self, session: Session, person: Person, passkey_id: str) -> None:
        """Remove one of the user's passkeys, or raise NotFound."""
        account = self.sessions.locked_account_in(session, person.account_id, person.session_id)
        if self.passkeys.remove(session, account.id, passkey_id) is None:
            raise NotFound
        self.factors.drop_needless_codes(session, account.id)
        self._tell(session, account, Template.FACTOR_REMOVED)

    async def show(
        self, credential: dict[str, Any], trail: Trail, work: Callable[[Session, Account], T]
    ) -> T:
        """Verify a passkey, then do the work in one transaction with its locked account."""
        challenge = await self.database.run(self.passkeys.use_challenge, credential, None)

        def shown(session: Session) -> T:
            account_id, passkey_id = self.passkeys.account_of(session, credential, challenge)
            account = locked_account(session, account_id)
            if account is None or not account.may_sign_in:
                raise UnknownPasskey
            trail.add(amr=PASSKEY)
            result = work(session, account)
            trail.user_id, trail.resource = account.id, passkey_id
            trail.write(session)
            return result

        return await self.database.run(shown)

    def _tell(self, session: Session, account: Account, template: Template) -> None:
        self.mails.send(session, template, account.email, account_id=account.id, factor="a passkey")
