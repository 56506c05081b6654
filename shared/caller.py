"""The caller of a request: the account behind a verified token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Claims that are attributes of Caller.
HELD = {
    "sub": "id",
    "user_id": "id",
    "role": "role",
    "username": "username",
    "email": "email",
    "sid": "session_id",
    "jti": "token_id",
    "client_id": "client_id",
    "ver": "version",
    "client_ver": "client_version",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """The account behind a verified token."""

    id: str
    role: str
    username: str | None
    email: str | None
    session_id: str | None
    scopes: frozenset[str]
    expires: float
    # A revocation may also name these.
    version: int = 0
    token_id: str | None = None
    client_id: str | None = None
    client_version: int = 0
    key_id: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # all others

    def claim(self, name: str) -> Any:
        """Return the claim with this name; None if the token lacks it."""
        return getattr(self, HELD[name]) if name in HELD else self.claims.get(name)

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    def owns(self, user_id: str) -> bool:
        return self.is_admin or self.id == user_id
