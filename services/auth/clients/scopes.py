"""The scopes that clients and personal access tokens can have."""

from contracts.scopes import SCOPES as OF_SERVICES
from shared.caller import FULL_ACCESS

OPENID, OFFLINE = "openid", "offline_access"
# What the consent page shows for each.
SCOPES = {
    OPENID: "Know who you are here",
    "profile": "See your name and username",
    "email": "See your e-mail address",
    OFFLINE: "Keep its access after you sign out",
    **OF_SERVICES,
    FULL_ACCESS: "Do everything here that you can do",
}
OF_IDENTITY = frozenset((OPENID, "profile", "email", OFFLINE))
# Scopes without a meaning for client_credentials: such a client has no account and is not an admin.
OF_PERSONS = OF_IDENTITY | {name for name in OF_SERVICES if name.startswith(("account:", "users:", "admin:"))}
OF_KEYS = sorted(SCOPES.keys() - OF_IDENTITY)
STRONG = frozenset(
    (FULL_ACCESS, "write", "terminal:write", *(one for one in SCOPES if one.startswith("admin:")))
)


def words(text: str | None) -> frozenset[str]:
    return frozenset((text or "").split())


def text(scopes: frozenset[str] | set[str]) -> str:
    return " ".join(sorted(scopes))
