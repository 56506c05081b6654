"""What goes into the endpoints for admins and what comes out."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from services.auth.fields import Email
from services.auth.models import Role, Status
from services.auth.schemas import AccountOut
from shared.http.schemas import Input, Text, example
from shared.lists.pagination import PageQuery


class Reason(StrEnum):
    """Why an admin does something to somebody's account; kept in the audit log."""

    REQUESTED = "requested"  # by the owner
    COMPROMISED = "compromised"
    LEFT = "left"
    ABUSE = "abuse"
    INACTIVE = "inactive"
    ROLE_CHANGED = "role_changed"
    MISTAKE = "mistake"
    OTHER = "other"


ReasonCode = Annotated[Reason, Field(strict=False, description="For the audit log.")]
Note = Annotated[Text, Field(max_length=300, description="For the audit log, in words.")]


class ListAccounts(PageQuery):
    email: Email | None = Field(default=None, description="This address exactly.")
    username: Annotated[Text, Field(max_length=32)] | None = Field(
        default=None, description="This username exactly, in any case."
    )
    role: Role | None = None
    status: Status | None = Field(default=None, description="Without it, all but deleted accounts.")


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
    def told(self) -> dict[str, str]:
        """What the audit log keeps of it."""
        return {"reason": self.reason, **({"note": self.note} if self.note else {})}


class AdminChange(WithReason):
    """The role, the status, or both."""

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
    """An account with what protects it."""

    has_password: bool
    second_factors: list[str]
