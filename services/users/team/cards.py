"""Cards: what each audience sees of a member, stored whenever the member or the profile changes.

Lists, filters and searches read only the cards of the reader's audience, so a hidden field can neither be
shown nor found.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlmodel import Session

from services.users.models import CARD_SKILLS, CARDS, MEMBERS, PROFILES, Profile, TeamMember
from services.users.team.audiences import Audience, card_of, compared, sees, text_of
from shared.ids import new_id

BATCH_MEMBERS = 100


def follow(session: Session, profiles: Iterable[Profile]) -> None:
    """Write the cards of those who are in the team again, after their profiles have changed."""
    by_id = {profile.id: profile for profile in profiles}
    if not by_id:
        return
    found = select(TeamMember).where(MEMBERS.c.user_id.in_(by_id)).order_by(MEMBERS.c.user_id)
    for member in session.scalars(found).all():
        write(session, by_id[member.user_id], member)


def write(session: Session, profile: Profile, member: TeamMember) -> None:
    """Write the card for each audience that sees the member, and delete the others."""
    execute = session.connection().execute
    kept = select(CARDS.c.audience, CARDS.c.id).where(CARDS.c.user_id == member.user_id)
    ids = {row.audience: row.id for row in execute(kept)}
    for audience in Audience:
        card_id = ids.get(audience)
        if sees(audience, profile, member):
            _write(session, card_id, audience, card_of(audience, profile, member))
        elif card_id is not None:
            _remove(session, [card_id])


def outdated(session: Session, after: str) -> tuple[str | None, list[str]]:
    """Look at the next batch of members; return the last, if there are more, and whose cards are wrong."""
    batch = select(TeamMember).where(MEMBERS.c.user_id > after).order_by(MEMBERS.c.user_id)
    members = session.execute(batch.limit(BATCH_MEMBERS)).scalars().all()
    ids = [member.user_id for member in members]
    # Not joined: PostgreSQL would read all profiles for it.
    profiles = session.execute(select(Profile).where(PROFILES.c.id.in_(ids))).scalars()
    profile_of = {profile.id: profile for profile in profiles}
    kept: dict[str, dict[str, Any]] = {user_id: {} for user_id in ids}
    found = select(CARDS.c.user_id, CARDS.c.audience, CARDS.c.card).where(CARDS.c.user_id.in_(ids))
    for row in session.connection().execute(found):
        kept[row.user_id][row.audience] = row.card
    wrong = [
        member.user_id
        for member in members
        if (profile := profile_of.get(member.user_id)) is not None
        if profile.is_deleted or kept[member.user_id] != _cards_of(profile, member)
    ]
    return (ids[-1] if len(ids) == BATCH_MEMBERS else None), wrong


def _cards_of(profile: Profile, member: TeamMember) -> dict[str, dict[str, Any]]:
    """Return the cards that a member should have, by audience."""
    return {
        str(audience): card_of(audience, profile, member)
        for audience in Audience
        if sees(audience, profile, member)
    }


def forget(session: Session, user_id: str) -> None:
    """Delete the member and the cards."""
    execute = session.connection().execute
    _remove(session, execute(select(CARDS.c.id).where(CARDS.c.user_id == user_id)).scalars().all())
    execute(delete(MEMBERS).where(MEMBERS.c.user_id == user_id))


def _write(session: Session, card_id: str | None, audience: Audience, card: dict[str, Any]) -> None:
    execute = session.connection().execute
    department = card["department"]
    values = {
        "department": None if department is None else compared(department),
        "department_name": department,
        "search": text_of(card),
        "card": card,
    }
    if card_id is None:
        card_id = new_id()
        keys = {"id": card_id, "audience": str(audience), "user_id": card["user_id"]}
        execute(insert(CARDS).values(keys | values))
    else:
        execute(update(CARDS).where(CARDS.c.id == card_id).values(values))
        execute(delete(CARD_SKILLS).where(CARD_SKILLS.c.id == card_id))
    skills = {compared(skill) for skill in card["skills"]}
    rows = [{"id": card_id, "audience": str(audience), "skill": skill} for skill in sorted(skills)]
    if rows:
        execute(insert(CARD_SKILLS), rows)


def _remove(session: Session, card_ids: Sequence[str]) -> None:
    execute = session.connection().execute
    execute(delete(CARD_SKILLS).where(CARD_SKILLS.c.id.in_(card_ids)))
    execute(delete(CARDS).where(CARDS.c.id.in_(card_ids)))
