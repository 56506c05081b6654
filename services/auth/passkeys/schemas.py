"""The request and response bodies of the endpoints for passkeys."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from services.auth.fields import MfaToken
from shared.http.schemas import Input, Output, Text, example

_CREDENTIAL = {"id": "c29tZSBpZA", "rawId": "c29tZSBpZA", "type": "public-key", "response": {}}
_PASSKEY = {
    "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
    "name": "Phone",
    "created": "2026-01-31T12:00:00Z",
    "used": None,
}

Credential = Annotated[
    dict[str, Any], Field(description="The result of `navigator.credentials`, serialised with `toJSON()`.")
]


class PasskeyName(Input):
    name: Annotated[Text, Field(max_length=100)]


class AddPasskey(PasskeyName):
    model_config = example({"name": "Phone", "credential": _CREDENTIAL})

    credential: Credential


class ShowPasskey(Input):
    model_config = example({"credential": _CREDENTIAL})

    credential: Credential


class ShowFactor(ShowPasskey):
    model_config = example(
        {"mfa_token": "VG8gYmUgc2hvd24gd2l0aCBhIGNvZGUgb2YgdGhlIGFwcA", "credential": _CREDENTIAL}
    )

    mfa_token: MfaToken


class PasskeyOut(Output):
    model_config = example(_PASSKEY)

    id: str
    name: str
    created: datetime
    used: datetime | None


class NewPasskeyOut(PasskeyOut):
    """A new passkey. The first factor comes with recovery codes, which are shown only once."""

    model_config = example({**_PASSKEY, "recovery_codes": ["k3m9x2pqwe7rt5yz"]})

    recovery_codes: list[str]
