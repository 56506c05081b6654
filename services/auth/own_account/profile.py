"""The names of a signed-in user's own account."""

from dataclasses import dataclass

from sqlmodel import Session

from services.auth.accounts.accounts import flush_names, locked_account
from services.auth.events import tell_changed
from services.auth.own_account.schemas import ChangeNames
from services.auth.sessions.own_password import Person
from services.auth.sessions.sessions import Sessions
from shared.errors import InvalidToken
from shared.events import Trail


@dataclass(frozen=True, slots=True)
class OwnProfile:
    """Changes the names of an account, and by an event those of its profile."""

    sessions: Sessions

    def change(self, session: Session, person: Person, names: ChangeNames, trail: Trail) -> None:
        """Set the names. Without a username, the account keeps its own."""
        self.sessions.account_in(session, person.account_id, person.session_id)
        account = locked_account(session, person.account_id)
        if account is None or not account.may_sign_in:
            raise InvalidToken
        before = account.username, account.first_name, account.last_name
        account.first_name, account.last_name = names.first_name, names.last_name
        if names.username is not None:
            account.name(names.username)
        if before == (account.username, account.first_name, account.last_name):
            return
        account.touch()
        flush_names(session)
        tell_changed(session, account, names_changed=before[1:] != (account.first_name, account.last_name))
        trail.write(session)
