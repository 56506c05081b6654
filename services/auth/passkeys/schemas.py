"""The request and response bodies of the endpoints for passkeys."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from shared.http.schemas import Input, Output, Text, example

_CREDENTIAL = {"id": "c29tZSBpZA", "rawId": "c29tZSBpZA", "type": "public-key", "response": {}}

Credential = Annotated[
    dict[str, Any], Field(description="The result of `navigator.credentials`, serialised with `toJSON()`.")
]


class AddPasskey(Input):
    model_config = example({"name": "Phone", "credential": _CREDENTIAL})

    name: Annotated[Text, Field(max_length=100)]
    credential: Credential


class ShowPasskey(Input):
    model_config = example({"credential": _CREDENTIAL})

    credential: Credential


class PasskeyOut(Output):
    model_config = example(
        {
            "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "name": "Phone",
            "created": "2026-01-31T12:00:00Z",
            "used": None,
        }
    )

    id: str
    name: str
    created: datetime
    used: datetime | None
