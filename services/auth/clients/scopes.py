"""The scopes that clients can be given."""

OPENID, OFFLINE = "openid", "offline_access"
EVERYTHING = "full_access"
# What the consent page says about each.
SCOPES = {
    OPENID: "Know who you are here",
    "profile": "See your name and username",
    "email": "See your e-mail address",
    OFFLINE: "Go on when you have signed out",
    EVERYTHING: "Do everything for you that you can do here",
}
OF_IDENTITY = frozenset((OPENID, "profile", "email", OFFLINE))
OF_PERSONS = OF_IDENTITY  # mean nothing in a token of a client alone


def words(text: str | None) -> frozenset[str]:
    return frozenset((text or "").split())


def text(scopes: frozenset[str] | set[str]) -> str:
    return " ".join(sorted(scopes))
