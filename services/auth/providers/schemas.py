"""Requests and responses of the endpoints for providers."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from shared.http.schemas import Input, Output, Text, WithHeaders, example

_IDENTITY = {
    "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "provider": "google",
    "email": "user@example.com",
    "created": "2026-01-31T12:00:00Z",
    "used": "2026-01-31T12:00:00Z",
}


class ProviderOut(Output):
    """A provider to sign in with. Send the browser to `url`; `?next=` is the path to return to."""

    model_config = example({"name": "google", "label": "Google", "url": "/auth/providers/google"})

    name: str
    label: str
    url: str


class IdentityOut(Output):
    """A provider account that is connected to yours."""

    model_config = example(_IDENTITY)

    id: str
    provider: str
    email: str | None
    created: datetime
    used: datetime


class ConnectIdentity(Input):
    model_config = example({"provider": "google"})

    provider: Annotated[Text, Field(max_length=32)]


class SentToProviderOut(WithHeaders):
    """The URL to send the browser to, within ten minutes. A cookie binds it to this browser."""

    model_config = example({"url": "https://accounts.google.com/o/oauth2/v2/auth?client_id=…"})

    url: str
