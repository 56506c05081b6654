"""The endpoints for programs: the providers, the caller's connected accounts, and sign-ins for admins."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from pydantic import TypeAdapter
from sqlalchemy import func, select
from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.auth.models import ACCOUNTS, IDENTITIES, SESSIONS, Status
from services.auth.providers.arrivals import Arrivals
from services.auth.providers.connected import CONNECTED, Connected
from services.auth.providers.pending import Purpose
from services.auth.providers.refusals import Refused
from services.auth.providers.registry import BEGIN, Providers
from services.auth.providers.schemas import (
    ConnectIdentity,
    IdentityOut,
    ProviderOut,
    SentToProviderOut,
    SignInsOut,
)
from services.auth.schemas import AccountOut
from services.auth.sessions.sessions import Sessions
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail
from shared.http.inputs import JSON
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate, paginate_equal

_BY_ID: TypeAdapter[dict[str, SignInsOut]] = TypeAdapter(dict[str, SignInsOut])


async def list_providers(providers: Providers) -> tuple[ProviderOut, ...]:
    """List the providers that users can sign in with."""
    listed = providers.configured
    return tuple(ProviderOut(name=one.name, label=one.label, url=f"{BEGIN}/{one.name}") for one in listed)


def list_identities(
    query: PageQuery, caller: Caller, sessions: Sessions, session: Session
) -> Page[IdentityOut]:
    """List your connected provider accounts, which can sign in to your account."""
    owner = sessions.account_of(session, caller)
    return paginate_equal(session, IDENTITIES, {"account_id": owner.id}, query, IdentityOut.unchecked)


async def connect_identity(
    body: ConnectIdentity,
    request: Request,
    caller: Caller,
    database: Database,
    sessions: Sessions,
    providers: Providers,
    arrivals: Arrivals,
    trail: Trail,
) -> SentToProviderOut:
    """Start connecting a provider account to yours. Send the browser to the URL in the response."""
    provider = providers.named(body.provider)
    account = await database.read(sessions.account_of, caller)
    purpose = Purpose(CONNECTED, account_id=account.id, session_id=caller.session_id)
    trail.add(provider=provider.settings.name)
    try:
        url, cookie = await arrivals.begin(provider, request, purpose)
    except Refused as error:
        trail.add(reason=error.reason)
        raise error.problem from error
    return SentToProviderOut(url=url).with_header("set-cookie", cookie)


def disconnect_identity(
    identity_id: Id, caller: Caller, sessions: Sessions, session: Session, connected: Connected, trail: Trail
) -> None:
    """Disconnect a provider account, unless it is the only way to sign in. Sends a mail."""
    connected.disconnect(session, sessions.account_of(session, caller).id, identity_id, trail)


def list_sign_ins_of_users(query: PageQuery, session: Session) -> dict[str, SignInsOut] | Response:
    """List the users by id, newest first, with their sign-ins. Their addresses are in the audit log."""
    checked = [ACCOUNTS.c.status != Status.DELETED]
    page = paginate(session, select(ACCOUNTS), ACCOUNTS.c.id, query, _shown, checked=checked)
    ids = [one.id for one in page.items]
    sessions, identities = _last_sessions(session, ids), _uses(session, ids)
    found = {}
    for account in page.items:
        used, uses = identities.get(account.id, (None, 0))
        moments = [one for one in (sessions.get(account.id), used) if one is not None]
        found[account.id] = SignInsOut(
            email=account.email,
            first_login=account.created,
            last_login=max(moments, default=None),
            login_count=uses,
        )
    headers = {"Cache-Control": "no-store"}
    if page.next is not None:
        following = urlencode({"limit": query.limit, "cursor": page.next})
        headers["Link"] = f'<?{following}>; rel="next"'
    return Response(_BY_ID.dump_json(found), headers=headers, media_type=JSON)


def _shown(row: dict[str, Any]) -> AccountOut:
    return AccountOut.unchecked(row, email_verified=row["verified"] is not None)


def _last_sessions(session: Session, ids: Sequence[str]) -> dict[str, datetime]:
    """Return the time of the last sign-in of each account, as far as its session is stored."""
    mine = SESSIONS.c.account_id.in_(ids), SESSIONS.c.client_id.is_(None)
    last = select(SESSIONS.c.account_id, func.max(SESSIONS.c.created)).where(*mine)
    rows = session.connection().execute(last.group_by(SESSIONS.c.account_id))
    return {row[0]: row[1] for row in rows}


def _uses(session: Session, ids: Sequence[str]) -> dict[str, tuple[Any, int]]:
    """Return the time of the last sign-in with a provider, and the number of them, of each account."""
    columns = IDENTITIES.c.account_id, func.max(IDENTITIES.c.used), func.sum(IDENTITIES.c.uses)
    grouped = select(*columns).where(IDENTITIES.c.account_id.in_(ids)).group_by(IDENTITIES.c.account_id)
    return {row[0]: (row[1], int(row[2])) for row in session.connection().execute(grouped)}
