"""The deletion of a signed-in user's own account."""

from dataclasses import dataclass

from sqlmodel import Session

from services.auth.accounts.accounts import lock_admins
from services.auth.administration.accounts import erase
from services.auth.factors.factors import Factors
from services.auth.sessions.own_password import OwnPassword, Person
from services.auth.sessions.sessions import Sessions
from shared.data.database import Database
from shared.events import Trail


@dataclass(frozen=True, slots=True)
class OwnDeletion:
    """Deletes an account if its password is correct. The last admin cannot be deleted."""

    database: Database
    own_password: OwnPassword
    sessions: Sessions
    factors: Factors

    async def delete(self, person: Person, password: str, trail: Trail) -> None:
        """Erase the personal data of the account and end its sessions."""
        before = await self.own_password.check(person, password)
        await self.database.run(self._delete, person, before, trail)

    def _delete(self, session: Session, person: Person, before: str | None, trail: Trail) -> None:
        admins = lock_admins(session)  # locked before the account everywhere, to avoid deadlocks
        account = self.own_password.unchanged(session, person, before)
        erase(session, account, admins, self.sessions, self.factors)
        trail.resource = trail.user_id = account.id
        trail.write(session)
