"""Profiles, preferences, settings and the team, with the rules that concern one profile."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Index, Text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from services.users.accounts import Account
from services.users.errors import ProfileDeleted
from shared.clock import now
from shared.data.database import UtcDateTime
from shared.data.tables import NOT_VALIDATED, table_of
from shared.events import EventTables
from shared.lists.search import Part, SearchIndex, searchable
from shared.work.leased import WorkTable

ID_CHARACTERS = 36
COMPARED_CHARACTERS = 200  # of a normalised department or skill
SYSTEM = ""  # the owner of the settings of the system
COPIED = ("email", "username", "role", "status")
NAMES = ("first_name", "last_name")
PERSONAL = ("email", "username", "first_name", "last_name", "phone", "bio", "avatar_url")


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"


class Status(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DISABLED = "disabled"
    DELETED = "deleted"


class Table(SQLModel, registry=registry()):
    """The base of this service's tables, with its own metadata."""

    model_config = NOT_VALIDATED


class Profile(Table, table=True):
    """One person. E-mail, username, role and status are copies; auth owns them.

    Auth enforces uniqueness. The copies have no such constraint, because two accounts that swap names would
    conflict in between.
    """

    __tablename__ = "profiles"
    __table_args__ = (Index("ix_profiles_status_role_id", "status", "role", "id"),)

    id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    email: str | None = None
    username: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    bio: str | None = None
    avatar_url: str | None = None
    role: str
    status: str
    search: str = ""
    account_updated: datetime = Field(sa_type=UtcDateTime)
    version: int = 1
    created: datetime = Field(sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)

    @classmethod
    def of(cls, account: Account) -> "Profile":
        """Return the profile after registration."""
        profile = cls(
            **{name: getattr(account, name) for name in ("id", "created", *COPIED)},
            first_name=account.first_name,
            last_name=account.last_name,
            account_updated=account.updated,
        )
        if profile.is_deleted:
            profile._blank()
        profile.search = profile._search_text()
        return profile

    @classmethod
    def blank(cls, account_id: str, deleted: datetime) -> "Profile":
        """Return the profile of an account that was deleted before its profile was created."""
        return cls(
            id=account_id,
            role=Role.USER,
            status=Status.DELETED,
            account_updated=deleted,
            created=deleted,
            updated=deleted,
        )

    @property
    def is_deleted(self) -> bool:
        return self.status == Status.DELETED

    def take_over(self, account: Account) -> None:
        """Update from the account, unless it is older than the copy.

        Two states of one account may arrive in either order. A deleted profile stays deleted, even if an
        older state arrives later.
        """
        if self.is_deleted or account.updated < self.account_updated:
            return
        self.account_updated = account.updated
        if account.status == Status.DELETED:
            self.anonymise()
        else:
            copied = COPIED + NAMES * account.names_changed
            self._set({name: getattr(account, name) for name in copied})

    def change(self, changes: dict[str, Any]) -> list[str]:
        """Change the profile; return the names of the fields that changed."""
        if self.is_deleted:
            raise ProfileDeleted
        return self._set(changes)

    def anonymise(self) -> None:
        """Anonymise the profile; the id stays, because orders and the audit log refer to it."""
        self._blank()
        self.status = Status.DELETED
        self.touch()

    def touch(self) -> None:
        self.version += 1
        self.updated = now()
        self.search = self._search_text()

    def _set(self, values: dict[str, Any]) -> list[str]:
        changed = [name for name, value in values.items() if getattr(self, name) != value]
        for name in changed:
            setattr(self, name, values[name])
        if changed:
            self.touch()
        return changed

    def _blank(self) -> None:
        for name in PERSONAL:
            setattr(self, name, None)

    def _search_text(self) -> str:
        """Return the searchable text, with one line per field, so that no match spans two fields."""
        names = " ".join(name for name in (self.first_name, self.last_name) if name)
        return "\n".join(searchable(part) for part in (self.email, self.username, names) if part)


class Preferences(Table, table=True):
    """The preferences of one account."""

    __tablename__ = "preferences"

    user_id: str = Field(
        primary_key=True, foreign_key="profiles.id", ondelete="CASCADE", max_length=ID_CHARACTERS
    )
    entries: dict[str, Any] = Field(sa_type=JSON)
    version: int = 1
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Setting(Table, table=True):
    """A setting of the system, which has the owner "", or of a person.

    Its value is either in `value` or, encrypted, in `sealed`.
    """

    __tablename__ = "settings"
    __table_args__ = (
        Index("ix_settings_owner_key", "owner", "key", unique=True),
        Index("ix_settings_owner_id", "owner", "id"),
    )

    id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    owner: str = Field(max_length=ID_CHARACTERS)
    key: str = Field(max_length=255)
    value: str | None = Field(default=None, sa_type=Text)
    sealed: str | None = Field(default=None, sa_type=Text)
    type: str = Field(max_length=10)
    description: str | None = Field(default=None, max_length=500)
    changed_by: str = Field(max_length=ID_CHARACTERS)
    version: int = 1
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class TeamMember(Table, table=True):
    """What a person says about themselves in the team directory, and who may see it."""

    __tablename__ = "team_members"

    user_id: str = Field(
        primary_key=True, foreign_key="profiles.id", ondelete="CASCADE", max_length=ID_CHARACTERS
    )
    department: str | None = Field(default=None, max_length=100)
    position: str | None = Field(default=None, max_length=100)
    bio: str | None = Field(default=None, max_length=1000)
    skills: list[str] = Field(sa_type=JSON)
    links: dict[str, str | None] = Field(sa_type=JSON)
    visibility: str = Field(max_length=10)
    field_visibility: dict[str, str] = Field(sa_type=JSON)
    is_active: bool
    version: int = 1
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class TeamCard(Table, table=True):
    """What one audience sees of a member. `department` is normalised, and null if it is hidden."""

    __tablename__ = "team_cards"
    __table_args__ = (
        Index("ix_team_cards_user_id_audience", "user_id", "audience", unique=True),
        Index("ix_team_cards_audience_id", "audience", "id"),
        Index("ix_team_cards_audience_department_id", "audience", "department", "id"),
    )

    id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    user_id: str = Field(foreign_key="team_members.user_id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    audience: str = Field(max_length=10)
    department: str | None = Field(default=None, max_length=COMPARED_CHARACTERS)
    department_name: str | None = Field(default=None, max_length=100)
    search: str = Field(sa_type=Text)
    card: dict[str, Any] = Field(sa_type=JSON)


class TeamCardSkill(Table, table=True):
    """A skill that one audience sees; `id` is that of the card."""

    __tablename__ = "team_card_skills"
    __table_args__ = (Index("ix_team_card_skills_id", "id"),)

    audience: str = Field(primary_key=True, max_length=10)
    skill: str = Field(primary_key=True, max_length=COMPARED_CHARACTERS)
    id: str = Field(
        primary_key=True, foreign_key="team_cards.id", ondelete="CASCADE", max_length=ID_CHARACTERS
    )


PROFILES = table_of(Profile)
MEMBERS, CARDS, CARD_SKILLS = table_of(TeamMember), table_of(TeamCard), table_of(TeamCardSkill)
SETTINGS = table_of(Setting)
PREFERENCES = table_of(Preferences)
SEARCH = SearchIndex(PROFILES, {"status": Part.START, "role": Part.START, "search": Part.ALL})
TEAM_SEARCH = SearchIndex(CARDS, {"audience": Part.START, "search": Part.ALL})
EVENTS = EventTables(Table.metadata)
WORK = WorkTable(Table.metadata)
