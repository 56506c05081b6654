"""Who sees which part of a team member."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from services.users.models import COMPARED_CHARACTERS, Profile, Status, TeamMember
from shared.caller import Caller
from shared.lists.search import searchable

FIELDS = ("department", "position", "bio", "skills", "links")


class Visibility(StrEnum):
    """Who may see a member, or a field of one, from everybody to the fewest."""

    PUBLIC = "public"
    INTERNAL = "internal"
    PRIVATE = "private"


class Audience(StrEnum):
    """A group of readers. Each has a card of every member that it may see."""

    PUBLIC = "public"  # without an account
    INTERNAL = "internal"  # with an account
    EVERYTHING = "everything"  # admins

    @classmethod
    def of(cls, caller: Caller | None) -> "Audience":
        if caller is None:
            return cls.PUBLIC
        return cls.EVERYTHING if caller.is_admin else cls.INTERNAL


SEEN: Mapping[Audience, Sequence[Visibility]] = {
    Audience.PUBLIC: (Visibility.PUBLIC,),
    Audience.INTERNAL: (Visibility.PUBLIC, Visibility.INTERNAL),
    Audience.EVERYTHING: tuple(Visibility),
}


def sees(audience: Audience, profile: Profile, member: TeamMember) -> bool:
    """Whether the audience sees this member at all."""
    if audience is Audience.EVERYTHING:
        return True
    is_shown = member.is_active and profile.status == Status.ACTIVE
    return is_shown and member.visibility in SEEN[audience]


def card_of(audience: Audience, profile: Profile, member: TeamMember) -> dict[str, Any]:
    """Return what the audience sees of a member; hidden fields are empty."""
    hidden = {name for name, seen in member.field_visibility.items() if seen not in SEEN[audience]}
    shown: dict[str, Any] = {name: getattr(member, name) for name in FIELDS if name not in hidden}
    empty: dict[str, Any] = {"department": None, "position": None, "bio": None, "skills": [], "links": {}}
    named = {"user_id": member.user_id, "name": name_of(profile)}
    ruled = dict.fromkeys(("visibility", "field_visibility", "is_active"))
    if audience is Audience.EVERYTHING:
        ruled = {name: getattr(member, name) for name in ruled}
    return {**named, **empty, **shown, **ruled, "version": member.version}


def name_of(profile: Profile) -> str | None:
    names = [name for name in (profile.first_name, profile.last_name) if name]
    return " ".join(names) or profile.username


def compared(text: str) -> str:
    """Return a department or skill as it is stored and looked for.

    A character may become eighteen when it is normalised; the cut keeps the value within its column and an
    index row.
    """
    return searchable(text)[:COMPARED_CHARACTERS]


def text_of(card: Mapping[str, Any]) -> str:
    """Return the searchable text of a card, with one line per field, so that no match spans two of them."""
    parts = [card["name"], card["department"], card["position"], *card["skills"], card["bio"]]
    return "\n".join(searchable(part) for part in parts if part)
