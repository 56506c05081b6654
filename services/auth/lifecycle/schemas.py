"""The request and response bodies for registration, invitations, addresses and password resets."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from services.auth.fields import AnyPassword, Email, Name, NewPassword, Username
from services.auth.models import Role
from shared.http.schemas import Input, Output, example

_TOKEN = "VG8gYmUgZm91bmQgaW4gdGhlIGxpbmsgb2YgdGhlIG1haWw"  # noqa: S105 - an example

LinkToken = Annotated[
    str, Field(min_length=1, max_length=100, description="`token` from the link in the mail.")
]


class ForgotPassword(Input):
    model_config = example(
        {
            "email": "user@example.com",
        }
    )

    email: Email


class ResetPassword(Input):
    model_config = example(
        {
            "token": _TOKEN,
            "new_password": "correct horse battery",
        }
    )

    token: LinkToken
    new_password: NewPassword


class ConfirmEmail(Input):
    model_config = example(
        {
            "token": _TOKEN,
        }
    )

    token: LinkToken


class ChangeEmail(Input):
    model_config = example(
        {
            "email": "new@example.com",
            "current_password": "password123",
        }
    )

    email: Email
    current_password: AnyPassword


class Invite(Input):
    model_config = example(
        {
            "email": "user@example.com",
            "role": "user",
            "first_name": "Jane",
        }
    )

    email: Email
    role: Annotated[Role, Field(strict=False)] = Role.USER
    first_name: Name | None = None
    last_name: Name | None = None


class AcceptInvitation(Input):
    """Names that are left out keep the values from the invitation."""

    model_config = example(
        {
            "token": _TOKEN,
            "password": "correct horse battery",
            "username": "testuser",
        }
    )

    token: LinkToken
    password: NewPassword
    username: Username | None = None
    first_name: Name | None = None
    last_name: Name | None = None


class InvitationOut(Output):
    """An invitation not accepted yet. Its link is only in the mail."""

    model_config = example(
        {
            "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "email": "user@example.com",
            "role": "user",
            "created_by": "0198c0de-4b20-7c31-9000-a7d8e9f04321",
            "created": "2026-01-31T12:00:00Z",
            "expires": "2026-02-07T12:00:00Z",
        }
    )

    id: str
    email: str
    role: str
    created_by: str | None
    created: datetime
    expires: datetime


class AcceptedOut(Output):
    """Accepted. The response is the same for every address, whether or not an e-mail is sent."""

    model_config = example(
        {
            "status": "accepted",
        }
    )

    status: Literal["accepted"] = "accepted"
