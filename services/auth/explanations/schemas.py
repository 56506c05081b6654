"""The input and output of the endpoint that explains credentials."""

from pydantic import Field

from shared.http.schemas import Input, Output
from shared.identity.tokens import TOKEN_BYTES_MAX


class ExplainCredential(Input):
    credential: str = Field(min_length=1, max_length=TOKEN_BYTES_MAX)


class FactOut(Output):
    name: str
    words: str
    is_refused: bool


class ExplainedOut(Output):
    kind: str
    facts: list[FactOut]
    account_id: str | None
    role: str | None
    scopes: list[str] | None
