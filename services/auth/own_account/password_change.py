"""The password change of a signed-in user."""

from dataclasses import dataclass

from sqlmodel import Session

from services.auth.credentials.devices import forget_devices
from services.auth.credentials.passwords import Passwords
from services.auth.credentials.policy import PasswordPolicy
from services.auth.factors.challenges import close_challenges
from services.auth.mails.links import forget_links
from services.auth.mails.mails import Mails, Template
from services.auth.models import Account
from services.auth.sessions.own_password import OwnPassword, Person
from services.auth.sessions.sessions import Sessions
from shared.events import Trail


@dataclass(frozen=True, slots=True)
class PasswordChange:
    """Sets a new password if the current one is correct."""

    own_password: OwnPassword
    passwords: Passwords
    policy: PasswordPolicy
    sessions: Sessions
    mails: Mails

    async def change(
        self, person: Person, current: str, new: str, this_device: str | None, trail: Trail
    ) -> None:
        """Change the password, end all other sessions, and forget all other devices."""

        def require_good(account: Account) -> None:
            self.policy.require(new, "new_password", account.email, account.username)

        def work(session: Session, account: Account) -> None:
            account.choose_password(after)
            self.sessions.end_others(session, account.id, person.session_id)
            forget_devices(session, account.id, but=this_device)
            close_challenges(session, account.id)
            forget_links(session, account.id)
            self.mails.send(session, Template.PASSWORD_CHANGED, account.email, account_id=account.id)
            trail.write(session)

        before = await self.own_password.check(person, current, require_good)
        after = await self.passwords.hash(new)
        await self.own_password.finish(person, before, work)
