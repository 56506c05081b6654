"""The field types of an account. Settings use them too, so this module needs no database."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from shared.http.schemas import Text
from shared.words import pattern

PASSWORD_CHARACTERS_MIN = 8
PASSWORD_CHARACTERS_MAX = 1024
# What HTML forms accept, with a dot in the domain. ASCII only: other scripts have look-alike letters.
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(rf"[a-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+")


def _address(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("must be an e-mail address, for example name@example.com")
    return text


Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, max_length=254),
    AfterValidator(_address),
    Field(json_schema_extra={"format": "email"}),
]
_USERNAME = pattern(
    r"^[A-Za-z0-9_.-]{3,32}$", "must be 3 to 32 letters, digits, _ . or -, for example jane_doe"
)
Username = Annotated[str, StringConstraints(strip_whitespace=True, pattern=_USERNAME)]
Name = Annotated[Text, Field(max_length=100)]
NewPassword = Annotated[str, Field(min_length=PASSWORD_CHARACTERS_MIN, max_length=PASSWORD_CHARACTERS_MAX)]
AnyPassword = Annotated[str, Field(min_length=1, max_length=PASSWORD_CHARACTERS_MAX)]
FactorCode = Annotated[Text, Field(max_length=40)]
MfaToken = Annotated[str, Field(min_length=1, max_length=100)]
LoginName = Annotated[Text, Field(max_length=254)]
RefreshTokenText = Annotated[str, Field(min_length=1, max_length=512)]
