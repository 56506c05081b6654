"""The JSON form of the token endpoint."""

from typing import Annotated

from pydantic import StringConstraints

from services.auth.oauth.parameters import VALUE_CHARACTERS_MAX
from shared.http.schemas import Input, Output, example

Value = Annotated[str, StringConstraints(max_length=VALUE_CHARACTERS_MAX)]
Required = Annotated[str, StringConstraints(min_length=1, max_length=VALUE_CHARACTERS_MAX)]


class AskForToken(Input):
    """The parameters of RFC 6749. The client's id and secret may also be in the Authorization header."""

    model_config = example(
        {
            "grant_type": "client_credentials",
            "client_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "client_secret": "gatehouse_secret_5mXbQyP0VhU6n0fJw3k1cD7sR2tZ8aLgE4iK9oWqYxM",
        }
    )

    grant_type: Required
    client_id: Value | None = None
    client_secret: Value | None = None
    code: Value | None = None
    redirect_uri: Value | None = None
    code_verifier: Value | None = None
    refresh_token: Value | None = None
    device_code: Value | None = None
    scope: Value | None = None
    resource: Value | None = None


class TokenOut(Output):
    """The tokens; those that the grant does not give are null."""

    model_config = example(
        {
            "access_token": "eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiIwMTk4YzBkZSJ9.c2lnbmF0dXJl",
            "token_type": "Bearer",
            "expires_in": 900,
            "scope": "orders:read",
            "refresh_token": None,
            "id_token": None,
        }
    )

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    refresh_token: str | None = None
    id_token: str | None = None
