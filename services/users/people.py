"""Profiles of accounts, which auth owns: a missing one is created from auth's API."""

from services.users import profiles
from services.users.accounts import fetch_account
from services.users.schemas import ProfileOut
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import NotFound, Unavailable
from shared.peers.client import Peer


async def find_profile(user_id: str, caller: Caller, database: Database, auth: Peer) -> ProfileOut:
    """Return the profile, created from its account on first use.

    A token that differs from the copy may be newer, so auth is asked; an existing profile is shown even if
    auth is unreachable.
    """
    if not caller.owns(user_id):
        raise NotFound
    profile = await database.look_up(profiles.find, user_id)
    is_own = caller.id == user_id
    if profile is None or (is_own and not profile.is_deleted and not profile.agrees_with(caller)):
        profile = await _from_auth(user_id, profile, database, auth)
    if profile is None or (profile.is_deleted and (is_own or not caller.is_admin)):
        raise NotFound
    return profile


async def find_caller(caller: Caller, database: Database, auth: Peer) -> ProfileOut:
    """Return the caller's profile, for operations that store something together with it."""
    return await find_profile(caller.id, caller, database, auth)


async def _from_auth(
    user_id: str, known: ProfileOut | None, database: Database, auth: Peer
) -> ProfileOut | None:
    try:
        account = await fetch_account(auth, user_id)
    except Unavailable:
        if known is None:
            raise
        return known
    return known if account is None else await database.run(profiles.keep_account, account)
