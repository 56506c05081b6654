"""Changes and deletions of users, which auth has to take part in.

No transaction stays open during a call to auth.
"""

from collections.abc import Callable
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlmodel import Session

from services.users import profiles
from services.users.accounts import change_account, delete_account
from services.users.people import find_profile
from services.users.schemas import ChangeUser, ProfileOut
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.identity.step_up import RECENT
from shared.peers.client import Peer

P = ParamSpec("P")
T = TypeVar("T")


async def change(
    user_id: str,
    body: ChangeUser,
    caller: Caller,
    if_match: IfMatch,
    database: Database,
    auth: Peer,
    trail: Trail,
) -> ProfileOut:
    """Change a profile, and the account if an admin changes fields that belong to it."""
    before = await find_profile(user_id, caller, database, auth)
    of_profile, of_account = body.of_profile(), body.of_account(caller)
    trail.resource = user_id
    trail.add(fields=sorted(body.model_fields_set))
    if not of_account:
        work = partial(profiles.change, if_match=if_match)
        return await database.run(recorded, trail, work, user_id, of_profile)
    RECENT.require(caller)
    await database.run(profiles.claim, user_id, if_match)
    account = await change_account(auth, user_id, of_account)
    for name in {"role", "status"} & of_account.keys():
        trail.add(**{name: {"before": getattr(before, name), "after": getattr(account, name)}})
    return await database.run(recorded, trail, profiles.change_with_account, account, of_profile)


async def delete(
    user_id: str, caller: Caller, if_match: IfMatch, database: Database, auth: Peer, trail: Trail
) -> None:
    """Delete an account and anonymise its profile."""
    profile = await find_profile(user_id, caller, database, auth)
    if profile.is_deleted:
        return
    await database.run(profiles.claim, user_id, if_match)
    # Auth first: if this process ends before the profile is anonymised, auth's event completes it.
    await delete_account(auth, user_id)
    await database.run(recorded, trail, profiles.anonymise, user_id)


def recorded(
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
