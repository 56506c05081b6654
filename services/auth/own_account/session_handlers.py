"""The caller's sessions and connected apps."""

from sqlmodel import Session

from services.auth.own_account.own_sessions import apps_of, disconnect_app_of, end_session_of, sessions_of
from services.auth.schemas import ConnectedAppOut, SessionOut
from services.auth.sessions.own_password import Person
from services.auth.sessions.sessions import Sessions
from shared.caller import Caller
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery


def list_sessions(query: PageQuery, caller: Caller, sessions: Sessions, session: Session) -> Page[SessionOut]:
    """List your sessions, newest first, without those granted to apps."""
    return sessions_of(session, _person(session, caller, sessions), query)


def end_session(session_id: Id, caller: Caller, sessions: Sessions, session: Session) -> None:
    """End one of your sessions and what it granted to apps. Its tokens are refused within a second."""
    end_session_of(session, _person(session, caller, sessions), session_id, sessions)


def list_connected_apps(
    query: PageQuery, caller: Caller, sessions: Sessions, session: Session
) -> Page[ConnectedAppOut]:
    """List the apps that may act for you."""
    return apps_of(session, _person(session, caller, sessions), query)


def disconnect_app(client_id: Id, caller: Caller, sessions: Sessions, session: Session) -> None:
    """Withdraw your consent for an app and revoke everything granted to it."""
    disconnect_app_of(session, _person(session, caller, sessions), client_id, sessions)


def _person(session: Session, caller: Caller, sessions: Sessions) -> Person:
    """Return the caller if the account may sign in and the session has not ended."""
    return Person(sessions.account_of(session, caller).id, caller.session_id)
