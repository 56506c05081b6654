"""What goes into the endpoints for the life of an account and what comes out."""

from typing import Annotated, Literal

from pydantic import Field

from services.auth.fields import Email, NewPassword
from shared.http.schemas import Input, Output, example

_TOKEN = "VG8gYmUgZm91bmQgaW4gdGhlIGxpbmsgb2YgdGhlIG1haWw"  # noqa: S105 - what one looks like

LinkToken = Annotated[
    str, Field(min_length=1, max_length=100, description="`token` of the link in the mail.")
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


class AcceptedOut(Output):
    """The same whatever the address: if something is to be sent to it, a mail is on its way."""

    model_config = example(
        {
            "status": "accepted",
        }
    )

    status: Literal["accepted"] = "accepted"
