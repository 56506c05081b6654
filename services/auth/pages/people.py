"""People and scopes as the pages show them."""

from services.auth.clients.scopes import SCOPES, STRONG
from services.auth.models import Account

_WAYS = {
    "pwd": "password",
    "otp": "authenticator app",
    "recovery": "recovery code",
    "hwk": "passkey",
    "mca": "Duo",
    "fed": "provider",
}


def person_of(account: Account) -> dict[str, str | None]:
    names = [name for name in (account.first_name, account.last_name) if name]
    shown = " ".join(names) or account.username or account.email or account.id
    initials = "".join(name[0] for name in names) or shown[:1]
    return {"name": shown, "email": account.email, "initials": initials.upper()}


def scopes_of(scopes: frozenset[str]) -> list[dict[str, object]]:
    """Return the texts of the scopes that an app wants."""
    return [{"words": words, "is_strong": name in STRONG} for name, words in SCOPES.items() if name in scopes]


def ways_in_words(amr: list[str]) -> str:
    """Describe the methods of a sign-in."""
    return ", ".join(_WAYS.get(way, way) for way in amr)
