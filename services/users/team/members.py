"""Members of the team: their entries, and the lists of their cards."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, literal, select
from sqlmodel import Session

from services.users.models import CARD_SKILLS, CARDS, TEAM_SEARCH, Profile, TeamMember
from services.users.team import cards
from services.users.team.audiences import Audience, card_of, compared
from services.users.team.schemas import DepartmentOut, ListTeam, MemberOut
from shared.clock import now
from shared.errors import NotFound
from shared.http.preconditions import IfMatch
from shared.http.schemas import Page
from shared.lists.named import page_of_named
from shared.lists.pagination import Walk, paginate
from shared.lists.search import Search, find_page, searchable

DEPARTMENTS_MAX = 200
COUNTED_MAX = 1000


def listed(session: Session, audience: Audience, query: ListTeam) -> Page[MemberOut]:
    """Return one page of what the audience sees; members who were added last come first."""
    department = None if query.department is None else compared(query.department)
    checked: list[ColumnElement[bool]] = []
    if query.search is not None:
        checked += [] if department is None else [CARDS.c.department == department]
        checked += [] if query.skill is None else [_has_skill(audience, query.skill)]
        return _found(session, audience, searchable(query.search), query, checked)
    if query.skill is not None:
        checked += [] if department is None else [CARDS.c.department == department]
        skilled = Walk(select(CARD_SKILLS.c.id).where(*_is_skill(audience, query.skill)), CARD_SKILLS.c.id)
        return page_of_named(session, skilled, CARDS, query, _shown, checked)
    of_audience = select(CARDS).where(CARDS.c.audience == str(audience))
    if department is not None:
        of_audience = of_audience.where(CARDS.c.department == department)
    return paginate(session, of_audience, CARDS.c.id, query, _shown)


def departments(session: Session, audience: Audience) -> list[DepartmentOut]:
    """Return the departments of the audience's cards, found one by one along an index."""
    of_audience = CARDS.c.audience == str(audience)

    def after(name: Any) -> Any:
        later = select(CARDS.c.department).where(of_audience, CARDS.c.department > name)
        return later.order_by(CARDS.c.department).limit(1).scalar_subquery()

    first = select(CARDS.c.department).where(of_audience, CARDS.c.department > "")
    begin = first.order_by(CARDS.c.department).limit(1).subquery()
    walk = select(begin.c.department.label("name"), literal(1).label("number")).cte(recursive=True)
    following = select(after(walk.c.name), walk.c.number + 1).where(
        walk.c.name.is_not(None), walk.c.number < DEPARTMENTS_MAX
    )
    walk = walk.union_all(following)
    mine = (of_audience, CARDS.c.department == walk.c.name)
    name = (
        select(CARDS.c.department_name)
        .where(*mine)
        .order_by(CARDS.c.id)
        .limit(1)
        .correlate(walk)
        .scalar_subquery()
    )
    some = select(CARDS.c.id).where(*mine).order_by(CARDS.c.id).limit(COUNTED_MAX).correlate(walk).subquery()
    members = select(func.count()).select_from(some).scalar_subquery()
    every = select(name.label("department"), members.label("members")).where(walk.c.name.is_not(None))
    rows = session.connection().execute(every.order_by(walk.c.name)).all()
    return [DepartmentOut(department=row.department, members=row.members) for row in rows]


def show(session: Session, user_id: str, audience: Audience) -> MemberOut:
    """Return the card of a member; raise NotFound if the audience may not see it."""
    found = select(CARDS.c.card).where(CARDS.c.user_id == user_id, CARDS.c.audience == str(audience))
    card = session.connection().execute(found).scalar_one_or_none()
    if card is None:
        raise NotFound
    return MemberOut.model_validate(card)


def put(session: Session, profile: Profile, values: Mapping[str, Any], if_match: IfMatch) -> MemberOut:
    """Replace the entry of a person. A new one is shown to others once an admin has made it active."""
    member = session.get(TeamMember, profile.id)
    if member is None:
        if_match.check(0)
        member = TeamMember(**{"user_id": profile.id, "is_active": False, "version": 0, **values})
        session.add(member)
    else:
        if_match.check(member.version)
        for name, value in values.items():
            setattr(member, name, value)
    member.version, member.updated = member.version + 1, now()
    session.flush()
    cards.write(session, profile, member)
    return MemberOut.model_validate(card_of(Audience.EVERYTHING, profile, member))


def remove(session: Session, user_id: str, if_match: IfMatch) -> None:
    """Delete the entry. Every writer locks the profile first, so none changes an entry that vanishes."""
    session.get(Profile, user_id, with_for_update=True)
    member = session.get(TeamMember, user_id)
    if member is None:
        raise NotFound
    if_match.check(member.version)
    cards.forget(session, user_id)


def _shown(row: Mapping[str, Any]) -> MemberOut:
    return MemberOut.model_validate(row["card"])


def _found(
    session: Session, audience: Audience, text: str, query: ListTeam, checked: list[ColumnElement[bool]]
) -> Page[MemberOut]:
    search = Search([{"audience": str(audience)}], {"search": text}, checked)
    if checked and session.get_bind().dialect.name == "postgresql":
        # With a selective filter PostgreSQL would check every row that contains a common text before sorting.
        walk = TEAM_SEARCH.walk({"audience": str(audience)}, search)
        conditions = TEAM_SEARCH.conditions(search)
        return paginate(session, [walk], walk.key, query, _shown, checked=conditions)
    return find_page(session, TEAM_SEARCH, search, query, _shown)


def _is_skill(audience: Audience, skill: str) -> list[ColumnElement[bool]]:
    return [CARD_SKILLS.c.audience == str(audience), CARD_SKILLS.c.skill == compared(skill)]


def _has_skill(audience: Audience, skill: str) -> ColumnElement[bool]:
    return (
        select(CARD_SKILLS.c.id).where(CARD_SKILLS.c.id == CARDS.c.id, *_is_skill(audience, skill)).exists()
    )
