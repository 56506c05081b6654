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

BROAD_SCOPES = frozenset(("read", "write"))
FULL_ACCESS = "full_access"


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
    # A revocation may name one of these instead of the account.
    version: int = 0
    token_id: str | None = None
    client_id: str | None = None
    client_version: int = 0
    key_id: str | None = None
    # Whether the token is limited to its scopes; a person who signed in may do what the role allows.
    is_limited: bool = False
    is_narrowed: bool = False  # an admin's token without the scope for administration
    claims: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  # all others

    def claim(self, name: str) -> Any:
        """Return the claim with this name; None if the token lacks it."""
        return getattr(self, HELD[name]) if name in HELD else self.claims.get(name)

    def may(self, scope: str) -> bool:
        """Return whether the token grants this scope.

        `read` and `write` cover that action on every resource except `admin`; `full_access` covers all
        scopes.
        """
        resource, _, action = scope.partition(":")
        is_broad = resource != "admin" and action in BROAD_SCOPES and action in self.scopes
        return not self.is_limited or scope in self.scopes or is_broad or FULL_ACCESS in self.scopes

    @property
    def authenticated(self) -> int | None:
        """When the person signed in, in Unix seconds; None for programs."""
        moment = self.claims.get("auth_time")
        return moment if type(moment) is int else None

    @property
    def acr(self) -> int:
        """The number of factors with which the person signed in; 0 for programs."""
        return {"1": 1, "2": 2}.get(str(self.claims.get("acr")), 0)

    @property
    def impersonator_id(self) -> str | None:
        """Return the id of the admin who impersonates this account (`act`, RFC 8693), if any."""
        actor = self.claims.get("act")
        subject = actor.get("sub") if isinstance(actor, dict) else None
        return subject if isinstance(subject, str) else None

    @property
    def is_admin(self) -> bool:
        return self.role == "admin" and not self.is_narrowed

    def owns(self, user_id: str) -> bool:
        return self.is_admin or self.id == user_id
