"""The scopes that clients and personal access tokens can be given."""

from contracts.scopes import SCOPES as OF_SERVICES
from shared.caller import FULL_ACCESS

OPENID, OFFLINE = "openid", "offline_access"
# What the consent page says about each.
SCOPES = {
    OPENID: "Know who you are here",
    "profile": "See your name and username",
    "email": "See your e-mail address",
    OFFLINE: "Go on when you have signed out",
    **OF_SERVICES,
    FULL_ACCESS: "Do everything for you that you can do here",
}
OF_IDENTITY = frozenset((OPENID, "profile", "email", OFFLINE))
# What means nothing in a token of a client alone, which has no account and is no admin.
OF_PERSONS = OF_IDENTITY | {name for name in OF_SERVICES if name.startswith(("account:", "users:", "admin:"))}
OF_KEYS = sorted(SCOPES.keys() - OF_IDENTITY)
STRONG = frozenset(
    (FULL_ACCESS, "write", "terminal:write", *(one for one in SCOPES if one.startswith("admin:")))
)


def words(text: str | None) -> frozenset[str]:
    return frozenset((text or "").split())


def text(scopes: frozenset[str] | set[str]) -> str:
    return " ".join(sorted(scopes))
