"""The caller's sessions and connected apps."""

from sqlalchemy import select
from sqlmodel import Session

from services.auth.models import CLIENTS, CONSENTS, SESSIONS
from services.auth.oauth.storage import drop_consent
from services.auth.schemas import ConnectedAppOut, SessionOut
from services.auth.sessions.sessions import Sessions
from shared.caller import Caller
from shared.clock import now
from shared.errors import NotFound
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate


def list_sessions(query: PageQuery, caller: Caller, sessions: Sessions, session: Session) -> Page[SessionOut]:
    """List your sessions, newest first, without those granted to apps."""
    mine = SESSIONS.c.account_id == sessions.account_of(session, caller).id, SESSIONS.c.client_id.is_(None)
    alive = SESSIONS.c.revoked.is_(None), SESSIONS.c.expires > now()
    living = select(SESSIONS).where(*mine, *alive)
    return paginate(session, living, SESSIONS.c.id, query, lambda row: SessionOut.of(row, caller.session_id))


def end_session(session_id: Id, caller: Caller, sessions: Sessions, session: Session) -> None:
    """End one of your sessions and what it granted to apps. Its tokens are refused within a second."""
    mine = SESSIONS.c.id == session_id, SESSIONS.c.account_id == sessions.account_of(session, caller).id
    found = select(SESSIONS.c.id).where(*mine, SESSIONS.c.revoked.is_(None), SESSIONS.c.client_id.is_(None))
    if session.connection().execute(found).first() is None:
        raise NotFound
    sessions.end(session, session_id)


def list_connected_apps(
    query: PageQuery, caller: Caller, sessions: Sessions, session: Session
) -> Page[ConnectedAppOut]:
    """List the apps that may act for you."""
    columns = CLIENTS.c.id, CLIENTS.c.name, CONSENTS.c.scope, CONSENTS.c.created, CONSENTS.c.updated
    together = select(*columns).join(CONSENTS, CONSENTS.c.client_id == CLIENTS.c.id)
    mine = together.where(CONSENTS.c.account_id == sessions.account_of(session, caller).id)
    return paginate(session, mine, CLIENTS.c.id, query, ConnectedAppOut.of)


def disconnect_app(client_id: Id, caller: Caller, sessions: Sessions, session: Session) -> None:
    """Withdraw your consent for an app and revoke everything granted to it."""
    account_id = sessions.account_of(session, caller).id
    had_consent = drop_consent(session, account_id, client_id)
    ended = sessions.end_of_client(session, account_id, client_id)
    if not (had_consent or ended):
        raise NotFound
