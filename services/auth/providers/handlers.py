"""The endpoints for programs: the providers, and the caller's connected accounts."""

from sqlmodel import Session
from starlette.requests import Request

from services.auth.models import IDENTITIES
from services.auth.providers.connected import CONNECTED, Connected
from services.auth.providers.pending import Purpose
from services.auth.providers.refusals import Refused
from services.auth.providers.registry import BEGIN, Providers
from services.auth.providers.schemas import (
    ConnectIdentity,
    IdentityOut,
    ProviderOut,
    SentToProviderOut,
)
from services.auth.providers.sign_ins import ProviderSignIns
from services.auth.sessions.sessions import Sessions
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate_equal


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
    sign_ins: ProviderSignIns,
    trail: Trail,
) -> SentToProviderOut:
    """Start connecting a provider account to yours. Send the browser to the URL in the response."""
    provider = providers.named(body.provider)
    account = await database.read(sessions.account_of, caller)
    purpose = Purpose(CONNECTED, account_id=account.id, session_id=caller.session_id)
    trail.add(provider=provider.settings.name)
    try:
        url, cookie = await sign_ins.begin(provider, request, purpose)
    except Refused as error:
        trail.add(reason=error.reason)
        raise error.problem from error
    return SentToProviderOut(url=url).with_header("set-cookie", cookie)


def disconnect_identity(
    identity_id: Id, caller: Caller, sessions: Sessions, session: Session, connected: Connected, trail: Trail
) -> None:
    """Disconnect a provider account, unless it is the only way to sign in. Sends a mail."""
    connected.disconnect(session, sessions.account_of(session, caller).id, identity_id, trail)
