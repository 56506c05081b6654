"""Accounts as the first web interface of the inventory knows them: their shapes, and roles in capitals."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator
from sqlalchemy import select
from sqlmodel import Session

from services.auth.administration.sign_ins import last_sign_ins
from services.auth.factors.factors import DUO
from services.auth.fields import Email, NewPassword, Username
from services.auth.models import ACCOUNTS, FACTORS, Role, Status
from services.auth.schemas import Register
from shared.http.schemas import Input, Output, example

USERS_MAX = 500  # the interface has no pages
_USER = {
    "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "username": "testuser",
    "email": "user@example.com",
    "role": "USER",
    "duo_verified": False,
    "last_login": "2026-01-31T12:00:00Z",
    "created_at": "2026-01-31T12:00:00Z",
    "updated_at": "2026-01-31T12:00:00Z",
}


def _in_capitals(role: object) -> object:
    return role.upper() if isinstance(role, str) else role


ClassicRole = Annotated[Literal["USER", "ADMIN"], BeforeValidator(_in_capitals)]


class ClassicUser(Output):
    """An account; `duo_verified` says whether it uses Duo as its second factor."""

    model_config = example(_USER)

    id: str
    username: str | None
    email: str | None
    role: Literal["USER", "ADMIN"]
    duo_verified: bool
    last_login: datetime | None
    created_at: datetime
    updated_at: datetime


class ClassicUsers(Output):
    model_config = example({"users": [_USER]})

    users: list[ClassicUser]


class ClassicAdded(Output):
    model_config = example(
        {"message": "The user was added.", "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234"}
    )

    message: str
    user_id: str


class ClassicDone(Output):
    model_config = example({"message": "The user was changed."})

    message: str


class AddUser(Register):
    model_config = example(
        {"username": "testuser", "email": "user@example.com", "password": "correct horse", "role": "USER"}
    )

    role: ClassicRole = "USER"


class ChangeUser(Input):
    """The fields to change; empty ones count as not given, as the interface sends them."""

    model_config = example({"role": "ADMIN"})

    username: Username | Literal[""] | None = None
    email: Email | Literal[""] | None = None
    role: ClassicRole | Literal[""] | None = None
    password: NewPassword | Literal[""] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.changes or self.password):
            raise ValueError("give at least one field to change")
        return self

    @property
    def changes(self) -> dict[str, Any]:
        """The fields to change other than the password."""
        found = {name: value for name in ("username", "email") if (value := getattr(self, name))}
        return {**found, **({"role": Role(self.role.lower())} if self.role else {})}


def users(session: Session) -> list[ClassicUser]:
    """List the newest accounts that are not deleted."""
    kept = ACCOUNTS.c.status != Status.DELETED
    newest = select(ACCOUNTS).where(kept).order_by(ACCOUNTS.c.id.desc()).limit(USERS_MAX)
    rows = session.connection().execute(newest).mappings().all()
    ids = [row["id"] for row in rows]
    last, with_duo = last_sign_ins(session, ids), _with_duo(session, ids)
    return [_user(dict(row), last, with_duo) for row in rows]


def _user(row: Mapping[str, Any], last: Mapping[str, datetime], with_duo: Sequence[str]) -> ClassicUser:
    return ClassicUser(
        id=row["id"],
        username=row["username"],
        email=row["email"],
        role="ADMIN" if row["role"] == Role.ADMIN else "USER",
        duo_verified=row["id"] in with_duo,
        last_login=last.get(row["id"]),
        created_at=row["created"],
        updated_at=row["updated"],
    )


def _with_duo(session: Session, ids: Sequence[str]) -> Sequence[str]:
    these = FACTORS.c.account_id.in_(ids), FACTORS.c.kind == DUO, FACTORS.c.confirmed.is_not(None)
    return session.connection().execute(select(FACTORS.c.account_id).where(*these)).scalars().all()
