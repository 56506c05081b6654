"""Handlers of users in the older form; they do what the handlers of the native form do."""

from typing import Any

from sqlmodel import Session

from services.users import changing
from services.users.accounts import fetch_account, fetch_accounts
from services.users.classic.schemas import (
    NamedUser,
    OldStatusOut,
    OldUser,
    PutOldProfile,
    PutOldStatus,
    UserPage,
)
from services.users.models import PROFILES, Role, Status
from services.users.people import find_profile
from services.users.schemas import ChangeUser, ProfileOut
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import NotFound
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.http.schemas import Done, Id
from shared.lists.numbered import ByNumber, page_of
from shared.peers.client import Peer

ANY_VERSION = IfMatch(None)
_SCOPES = [
    {"status": str(status), "role": str(role)}
    for status in Status
    if status is not Status.DELETED
    for role in Role
]


async def list_classic_users(query: ByNumber, database: Database, auth: Peer) -> UserPage:
    """List the users who are not deleted, newest first."""
    rows, total = await database.read(classic_page, query)
    found = [ProfileOut.unchecked(row) for row in rows]
    accounts = await fetch_accounts(auth, [one.id for one in found])
    verified = {one.id for one in accounts if one.email_verified}
    users = [OldUser.of(one, email_verified=one.id in verified) for one in found]
    return UserPage(users=users, **query.described(total))


def classic_page(session: Session, query: ByNumber) -> tuple[list[dict[str, Any]], int]:
    return page_of(session, PROFILES, _SCOPES, query)


async def show_classic_me(caller: Caller, database: Database, auth: Peer) -> NamedUser:
    """Show your own profile."""
    return await _named(await find_profile(caller.id, caller, database, auth), auth)


async def show_classic_user(user_id: Id, caller: Caller, database: Database, auth: Peer) -> NamedUser:
    """Show a user."""
    return await _named(await _alive(user_id, caller, database, auth), auth)


async def put_classic_me(
    body: PutOldProfile, caller: Caller, database: Database, auth: Peer, trail: Trail
) -> NamedUser:
    """Change your names and phone number."""
    return await _changed(caller.id, body.native(), caller, database, auth, trail)


async def put_classic_user(
    user_id: Id, body: PutOldProfile, caller: Caller, database: Database, auth: Peer, trail: Trail
) -> NamedUser:
    """Change the names and phone number of a user."""
    await _alive(user_id, caller, database, auth)
    return await _changed(user_id, body.native(), caller, database, auth, trail)


async def put_classic_user_status(
    user_id: Id, body: PutOldStatus, caller: Caller, database: Database, auth: Peer, trail: Trail
) -> OldStatusOut:
    """Set the status of a user; a new one ends all sessions of the account."""
    await _alive(user_id, caller, database, auth)
    await changing.change(user_id, body.native(), caller, ANY_VERSION, database, auth, trail)
    return OldStatusOut(status=body.status)


async def delete_classic_me(caller: Caller, database: Database, auth: Peer, trail: Trail) -> Done:
    """Delete your account."""
    await changing.delete(caller.id, caller, ANY_VERSION, database, auth, trail)
    return Done()


async def delete_classic_user(
    user_id: Id, caller: Caller, database: Database, auth: Peer, trail: Trail
) -> Done:
    """Delete the account of a user."""
    await _alive(user_id, caller, database, auth)
    await changing.delete(user_id, caller, ANY_VERSION, database, auth, trail)
    return Done()


async def _changed(
    user_id: str, body: ChangeUser, caller: Caller, database: Database, auth: Peer, trail: Trail
) -> NamedUser:
    changed = await changing.change(user_id, body, caller, ANY_VERSION, database, auth, trail)
    return await _named(changed, auth)


async def _alive(user_id: str, caller: Caller, database: Database, auth: Peer) -> ProfileOut:
    profile = await find_profile(user_id, caller, database, auth)
    if profile.is_deleted:
        raise NotFound
    return profile


async def _named(profile: ProfileOut, auth: Peer) -> NamedUser:
    account = await fetch_account(auth, profile.id)
    verified = account is not None and account.email_verified
    return NamedUser(user=OldUser.of(profile, email_verified=verified))
