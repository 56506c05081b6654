"""The rules for new passwords."""

import re
import unicodedata
from functools import cache
from pathlib import Path

from services.auth.fields import PASSWORD_CHARACTERS_MAX
from services.auth.schemas import is_a_name_of
from services.auth.settings import Settings
from shared.errors import FieldFault, Invalid

PRODUCT = "gatehouse"
_LIST = Path(__file__).with_name("common_passwords.txt")
_AROUND = re.compile(r"^[\W\d_]+|[\W\d_]+$")  # what people put around a word to make a password


class PasswordPolicy:
    """Refuses passwords that attackers try first: the account's names always, common ones if configured.

    There are no composition rules, because they make passwords hard to remember and easy to guess.
    """

    def __init__(self, settings: Settings) -> None:
        self._characters_min = settings.password_min
        self._refuses_common = settings.refuses_common_passwords

    def require(self, password: str, field: str, *names: str | None) -> None:
        """Raise a field fault if the password is too short or long, common or a name."""
        if len(password) < self._characters_min:
            _refuse(field, "string_too_short", f"must have at least {self._characters_min} characters")
        if len(password) > PASSWORD_CHARACTERS_MAX:
            _refuse(field, "string_too_long", f"must have at most {PASSWORD_CHARACTERS_MAX} characters")
        if is_a_name_of(password, *names):
            _refuse(field, "value_error", "must not be the e-mail address or the username")
        if self._refuses_common and is_common(password, *names):
            _refuse(field, "common_password", "is too common and easy to guess; choose another one")


def is_common(password: str, *names: str | None) -> bool:
    """Whether the password is well known, or is a name surrounded only by digits and punctuation."""
    folded = unicodedata.normalize("NFKC", password).casefold()
    if folded in common_passwords():
        return True
    core = _AROUND.sub("", folded)
    parts = {part for name in names if name for part in (name.casefold(), name.casefold().partition("@")[0])}
    return not core or core in {PRODUCT, *parts} or len(set(folded)) < 3


@cache
def common_passwords() -> frozenset[str]:
    lines = _LIST.read_text().splitlines()
    return frozenset(line for line in lines if not line.startswith("# "))


def _refuse(field: str, code: str, message: str) -> None:
    raise Invalid(errors=[FieldFault(field=field, code=code, message=message)])
