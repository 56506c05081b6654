"""Request bodies of the endpoints for the caller's own account."""

from typing import Self

from pydantic import model_validator

from services.auth.fields import AnyPassword, FactorCode, Name, Username
from services.auth.passkeys.schemas import Credential
from shared.http.schemas import Input, example


class ConfirmIdentity(Input):
    """The password and, if a second factor is required, a code; or a passkey."""

    model_config = example(
        {
            "current_password": "password123",
            "code": "123456",
        }
    )

    current_password: AnyPassword | None = None
    code: FactorCode | None = None
    credential: Credential | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.current_password is None) == (self.credential is None):
            raise ValueError("give current_password or credential, and only one of them")
        return self


class ChangeNames(Input):
    """The names of an account. A first or last name that is left out is removed."""

    username: Username | None = None
    first_name: Name | None = None
    last_name: Name | None = None
