"""The request and response bodies of the team directory."""

from typing import Annotated, Any

from pydantic import Field

from services.users.team.audiences import Visibility
from shared.http.schemas import Input, Output, Text, Versioned, example
from shared.lists.pagination import PageQuery
from shared.words import pattern

SKILLS_MAX = 30

Department = Annotated[Text, Field(max_length=100)]
Position = Annotated[Text, Field(max_length=100)]
About = Annotated[Text, Field(max_length=1000)]
Skill = Annotated[Text, Field(max_length=50)]
Skills = Annotated[list[Skill], Field(max_length=SKILLS_MAX)]
Link = Annotated[
    str,
    Field(
        max_length=500,
        pattern=pattern(
            r"^https://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?([/?#][!#-;=?-\[\]_a-z~]*)?$",
            "must be a URL that begins with https://, for example https://example.com/jane",
        ),
        examples=["https://example.com/jane"],
    ),
]
_MEMBER: dict[str, Any] = {
    "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "name": "Jane Doe",
    "department": "Warehouse",
    "position": "Head of logistics",
    "bio": "Keeps the warehouse running.",
    "skills": ["Forklift", "Python"],
    "links": {"github": "https://github.com/octocat", "linkedin": None, "twitter": None, "website": None},
    "visibility": None,
    "field_visibility": None,
    "is_active": None,
    "version": 1,
}


class Links(Input):
    linkedin: Link | None = None
    twitter: Link | None = None
    github: Link | None = None
    website: Link | None = None


class FieldVisibility(Input):
    """Who sees a field, if fewer people than see the member."""

    department: Visibility | None = None
    position: Visibility | None = None
    bio: Visibility | None = None
    skills: Visibility | None = None
    links: Visibility | None = None


class PutOwnMember(Input):
    """Replaces your entry; fields you leave out are emptied."""

    model_config = example(
        {
            "department": "Warehouse",
            "position": "Head of logistics",
            "skills": ["Python"],
            "visibility": "public",
        }
    )

    department: Department | None = None
    position: Position | None = None
    bio: About | None = None
    skills: Skills = Field(default_factory=list)
    links: Links = Field(default_factory=Links)
    visibility: Visibility = Field(
        default=Visibility.INTERNAL,
        description="public: everybody; internal: people with an account; private: you and admins.",
    )
    field_visibility: FieldVisibility = Field(default_factory=FieldVisibility)

    def values(self) -> dict[str, Any]:
        """Return the columns of the row; a skill that is given twice is kept once."""
        first: dict[str, str] = {}
        for skill in self.skills:
            first.setdefault(skill.casefold(), skill)
        seen = self.field_visibility.model_dump(mode="json", exclude_none=True)
        fields = self.model_dump(mode="json", exclude={"skills", "field_visibility"})
        return {**fields, "skills": list(first.values()), "field_visibility": seen}


class PutMember(PutOwnMember):
    """Replaces an entry; fields you leave out are emptied."""

    is_active: bool = Field(default=True, description="Whether others than the person and admins see it.")


class ListTeam(PageQuery):
    department: Department | None = Field(default=None, description="Only members of this department.")
    skill: Skill | None = Field(default=None, description="Only members with this skill.")
    search: Annotated[Text, Field(max_length=100)] | None = Field(
        default=None, description="Only members with this text in a field that you see; case is ignored."
    )


class LinksOut(Output):
    linkedin: str | None = None
    twitter: str | None = None
    github: str | None = None
    website: str | None = None


class MemberOut(Versioned):
    """A team member. Fields that are not visible to you are empty.

    `visibility`, `field_visibility` and `is_active` are for the person and admins, and null for others.
    """

    model_config = example(_MEMBER)

    user_id: str
    name: str | None
    department: str | None
    position: str | None
    bio: str | None
    skills: list[str]
    links: LinksOut
    visibility: str | None
    field_visibility: dict[str, str] | None
    is_active: bool | None


class DepartmentOut(Output):
    """A department, and how many members of it you see, counted up to 1,000."""

    model_config = example({"department": "Warehouse", "members": 12})

    department: str
    members: int
