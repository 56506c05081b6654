"""Handlers of profiles and preferences.

Those that call auth are coroutines and open a transaction before or after the call, never around it.
"""

from collections.abc import Callable
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlmodel import Session

from services.users import profiles
from services.users.accounts import change_account, create_account, delete_account
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
from shared.identity.step_up import RECENT
from shared.peers.client import Peer

P = ParamSpec("P")
T = TypeVar("T")


def list_users(query: ListUsers, session: Session) -> Page[ProfileOut]:
    """List all users, newest first, or those that match a search."""
    return profiles.search(session, query)


async def create_user(body: CreateUser, database: Database, auth: Peer, trail: Trail) -> ProfileOut:
    """Create an account with its profile."""
    account = await create_account(auth, body.account())
    own = {} if body.phone is None else {"phone": body.phone}
    trail.resource = account.id
    trail.add(role=account.role)
    return await database.run(_recorded, trail, profiles.change_with_account, account, own)


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
    return await change_user(caller.id, body, caller, if_match, database, auth, trail)


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
    before = await find_profile(user_id, caller, database, auth)
    of_profile, of_account = body.of_profile(), body.of_account(caller)
    trail.resource = user_id
    trail.add(fields=sorted(body.model_fields_set))
    if not of_account:
        change = partial(profiles.change, if_match=if_match)
        return await database.run(_recorded, trail, change, user_id, of_profile)
    RECENT.require(caller)
    await database.run(profiles.claim, user_id, if_match)
    account = await change_account(auth, user_id, of_account)
    for name in {"role", "status"} & of_account.keys():
        trail.add(**{name: {"before": getattr(before, name), "after": getattr(account, name)}})
    return await database.run(_recorded, trail, profiles.change_with_account, account, of_profile)


async def delete_me(caller: Caller, if_match: IfMatch, database: Database, auth: Peer, trail: Trail) -> None:
    """Delete your account."""
    await delete_user(caller.id, caller, if_match, database, auth, trail)


async def delete_user(
    user_id: Id, caller: Caller, if_match: IfMatch, database: Database, auth: Peer, trail: Trail
) -> None:
    """Delete an account: your own, or as an admin any.

    Personal data is erased here and at auth. The person can register again; the id stays, because other
    records refer to it.
    """
    profile = await find_profile(user_id, caller, database, auth)
    if profile.is_deleted:
        return
    await database.run(profiles.claim, user_id, if_match)
    # Auth first: if this process ends before the profile is anonymised, auth's event completes it.
    await delete_account(auth, user_id)
    await database.run(_recorded, trail, profiles.anonymise, user_id)


def show_preferences(caller: Caller, session: Session) -> PreferencesOut:
    """Show your own preferences."""
    return profiles.show_preferences(session, caller.id)


async def put_preferences(
    body: PutPreferences, caller: Caller, if_match: IfMatch, database: Database, auth: Peer, trail: Trail
) -> PreferencesOut:
    """Replace all your preferences."""
    await find_profile(caller.id, caller, database, auth)
    return await database.run(_recorded, trail, profiles.put_preferences, caller.id, body.root, if_match)


def _recorded(
    session: Session,
    trail: Trail,
    work: Callable[Concatenate[Session, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run the last step of a request, and record the request in the same transaction."""
    result = work(session, *args, **kwargs)
    trail.write(session)
    return result
