"""Handlers of the team directory."""

from sqlmodel import Session

from services.users import profiles
from services.users.people import find_profile
from services.users.schemas import ProfileOut
from services.users.team import members
from services.users.team.audiences import Audience
from services.users.team.schemas import DepartmentOut, ListTeam, MemberOut, PutMember, PutOwnMember
from shared.caller import Caller
from shared.data.database import Database
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id, Page
from shared.peers.client import Peer


async def find_person(user_id: Id, caller: Caller, database: Database, auth: Peer) -> ProfileOut:
    return await find_profile(user_id, caller, database, auth)


def list_team(query: ListTeam, caller: Caller | None, session: Session) -> Page[MemberOut]:
    """List the team as far as it is visible to you; members who were added last come first."""
    return members.listed(session, Audience.of(caller), query)


def list_departments(caller: Caller | None, session: Session) -> list[DepartmentOut]:
    """List the departments of the members that you see, at most 200, in alphabetical order."""
    return members.departments(session, Audience.of(caller))


def show_own_member(caller: Caller, session: Session) -> MemberOut:
    """Show your own entry, with who may see it."""
    return members.show(session, caller.id, Audience.EVERYTHING)


def show_member(user_id: Id, caller: Caller | None, session: Session) -> MemberOut:
    """Show one member as far as they are visible to you."""
    is_owner = caller is not None and caller.owns(user_id)
    return members.show(session, user_id, Audience.EVERYTHING if is_owner else Audience.of(caller))


def put_own_member(
    body: PutOwnMember, profile: ProfileOut, if_match: IfMatch, session: Session
) -> MemberOut:  # fmt: skip
    """Create or replace your own entry. Others see a new one once an admin has made it active."""
    person = profiles.require_alive(session, profile.id)
    return members.put(session, person, body.values(), if_match)


def delete_own_member(caller: Caller, if_match: IfMatch, session: Session) -> None:
    """Leave the directory."""
    members.remove(session, caller.id, if_match)


def put_member(
    user_id: Id, body: PutMember, profile: ProfileOut, if_match: IfMatch, session: Session
) -> MemberOut:
    """Create or replace anybody's entry."""
    assert profile.id == user_id
    person = profiles.require_alive(session, user_id)
    return members.put(session, person, body.values(), if_match)


def delete_member(user_id: Id, if_match: IfMatch, session: Session) -> None:
    """Delete anybody's entry."""
    members.remove(session, user_id, if_match)
