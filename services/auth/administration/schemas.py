"""The request and response bodies of the endpoints for admins."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from services.auth.fields import Email
from services.auth.models import Role, Status
from services.auth.schemas import AccountOut
from shared.http.schemas import Id, Input, Output, Query, Text, example
from shared.lists.pagination import PageQuery

ACCOUNTS_AT_ONCE = 100


class Reason(StrEnum):
    """Why an admin acts on an account, for the audit log."""

    REQUESTED = "requested"  # by the owner
    SUPPORT = "support"
    COMPROMISED = "compromised"
    LEFT = "left"
    ABUSE = "abuse"
    INACTIVE = "inactive"
    ROLE_CHANGED = "role_changed"
    MISTAKE = "mistake"
    OTHER = "other"


ReasonCode = Annotated[Reason, Field(strict=False, description="For the audit log.")]
Note = Annotated[Text, Field(max_length=300, description="Free text for the audit log.")]


class ListAccounts(PageQuery):
    email: Email | None = Field(default=None, description="Exact match.")
    username: Annotated[Text, Field(max_length=32)] | None = Field(
        default=None, description="Exact match, ignoring case."
    )
    role: Role | None = None
    status: Status | None = Field(default=None, description="By default all but deleted accounts.")


class FindAccounts(Query):
    id: list[Id] = Field(min_length=1, max_length=ACCOUNTS_AT_ONCE, description="May be given repeatedly.")


class FoundAccountsOut(Output):
    accounts: list[AccountOut]


class WithReason(Input):
    model_config = example(
        {
            "reason": "compromised",
            "note": "Laptop stolen",
        }
    )

    reason: ReasonCode
    note: Note | None = None

    @property
    def recorded(self) -> dict[str, str]:
        """The fields recorded in the audit log."""
        return {"reason": self.reason, **({"note": self.note} if self.note else {})}


class AdminChange(WithReason):
    """A new role, status or both."""

    model_config = example(
        {
            "status": "suspended",
            "reason": "abuse",
        }
    )

    role: Annotated[Role, Field(strict=False)] | None = None
    status: Literal["active", "suspended", "disabled"] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.role is None and self.status is None:
            raise ValueError("give a role, a status or both")
        return self

    @property
    def changes(self) -> dict[str, Any]:
        return {name: value for name in ("role", "status") if (value := getattr(self, name)) is not None}


class AccountDetailsOut(AccountOut):
    """An account and how it is protected."""

    has_password: bool
    second_factors: list[str]


class SignInsOut(Output):
    """A user's first and last sign-in, and the number of sign-ins with providers."""

    email: str | None
    first_login: datetime
    last_login: datetime | None
    login_count: int
