"""The sessions and connected apps of a signed-in user."""

from sqlalchemy import select
from sqlmodel import Session

from services.auth.models import CLIENTS, CONSENTS, SESSIONS
from services.auth.oauth.storage import drop_consent
from services.auth.schemas import ConnectedAppOut, SessionOut
from services.auth.sessions.own_password import Person
from services.auth.sessions.sessions import Sessions
from shared.clock import now
from shared.errors import NotFound
from shared.http.schemas import Page
from shared.lists.pagination import PageQuery, paginate


def sessions_of(session: Session, person: Person, query: PageQuery) -> Page[SessionOut]:
    """Return a page of the user's active sessions, newest first, without the grants of apps."""
    mine = SESSIONS.c.account_id == person.account_id, SESSIONS.c.client_id.is_(None)
    living = select(SESSIONS).where(*mine, SESSIONS.c.revoked.is_(None), SESSIONS.c.expires > now())
    return paginate(session, living, SESSIONS.c.id, query, lambda row: SessionOut.of(row, person.session_id))


def end_session_of(session: Session, person: Person, session_id: str, sessions: Sessions) -> None:
    """End one of the user's sessions and what it granted to apps, or raise NotFound."""
    mine = SESSIONS.c.id == session_id, SESSIONS.c.account_id == person.account_id
    found = select(SESSIONS.c.id).where(*mine, SESSIONS.c.revoked.is_(None), SESSIONS.c.client_id.is_(None))
    if session.connection().execute(found).first() is None:
        raise NotFound
    sessions.end(session, session_id)


def apps_of(session: Session, person: Person, query: PageQuery) -> Page[ConnectedAppOut]:
    """Return a page of the apps that the user has authorized."""
    columns = CLIENTS.c.id, CLIENTS.c.name, CONSENTS.c.scope, CONSENTS.c.created, CONSENTS.c.updated
    together = select(*columns).join(CONSENTS, CONSENTS.c.client_id == CLIENTS.c.id)
    mine = together.where(CONSENTS.c.account_id == person.account_id)
    return paginate(session, mine, CLIENTS.c.id, query, ConnectedAppOut.of)


def disconnect_app_of(session: Session, person: Person, client_id: str, sessions: Sessions) -> None:
    """Withdraw the consent for an app and end its grants, or raise NotFound."""
    had_consent = drop_consent(session, person.account_id, client_id)
    ended = sessions.end_of_client(session, person.account_id, client_id)
    if not (had_consent or ended):
        raise NotFound
