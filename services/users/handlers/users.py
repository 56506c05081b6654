"""Handlers of profiles and preferences.

Those that call auth are coroutines and open a transaction before or after the call, never around it.
"""

from sqlmodel import Session

from services.users import changing, profiles
from services.users.accounts import create_account
from services.users.changing import recorded
from services.users.people import find_profile
from services.users.schemas import (
    ChangeUser,
    CreateUser,
    ListUsers,
    PreferencesOut,
    ProfileOut,
    PutPreferences,
)
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id, Page
from shared.peers.client import Peer


def list_users(query: ListUsers, session: Session) -> Page[ProfileOut]:
    """List all users, newest first, or those that match a search."""
    return profiles.search(session, query)


async def create_user(body: CreateUser, database: Database, auth: Peer, trail: Trail) -> ProfileOut:
    """Create an account with its profile."""
    account = await create_account(auth, body.account())
    own = {} if body.phone is None else {"phone": body.phone}
    trail.resource = account.id
    trail.add(role=account.role)
    return await database.run(recorded, trail, profiles.change_with_account, account, own)


async def show_me(caller: Caller, database: Database, auth: Peer) -> ProfileOut:
    """Show your own profile."""
    return await find_profile(caller.id, caller, database, auth)


async def show_user(user_id: Id, caller: Caller, database: Database, auth: Peer) -> ProfileOut:
    """Show one profile: your own, or as an admin any."""
    return await find_profile(user_id, caller, database, auth)


async def change_me(
    body: ChangeUser, caller: Caller, if_match: IfMatch, database: Database, auth: Peer, trail: Trail
) -> ProfileOut:
    """Change your own profile."""
    return await changing.change(caller.id, body, caller, if_match, database, auth, trail)


async def change_user(
    user_id: Id,
    body: ChangeUser,
    caller: Caller,
    if_match: IfMatch,
    database: Database,
    auth: Peer,
    trail: Trail,
) -> ProfileOut:
    """Change a profile: your own, or as an admin any.

    Only admins change e-mail, username, role and status, after a recent sign-in. A new e-mail, role or
    status ends the sessions of the account.
    """
    return await changing.change(user_id, body, caller, if_match, database, auth, trail)


async def delete_me(caller: Caller, if_match: IfMatch, database: Database, auth: Peer, trail: Trail) -> None:
    """Delete your account."""
    await changing.delete(caller.id, caller, if_match, database, auth, trail)


async def delete_user(
    user_id: Id, caller: Caller, if_match: IfMatch, database: Database, auth: Peer, trail: Trail
) -> None:
    """Delete an account: your own, or as an admin any.

    Personal data is erased here and at auth. The person can register again; the id stays, because other
    records refer to it.
    """
    await changing.delete(user_id, caller, if_match, database, auth, trail)


def show_preferences(caller: Caller, session: Session) -> PreferencesOut:
    """Show your own preferences."""
    return profiles.show_preferences(session, caller.id)


async def put_preferences(
    body: PutPreferences, caller: Caller, if_match: IfMatch, database: Database, auth: Peer, trail: Trail
) -> PreferencesOut:
    """Replace all your preferences."""
    await find_profile(caller.id, caller, database, auth)
    return await database.run(recorded, trail, profiles.put_preferences, caller.id, body.root, if_match)
