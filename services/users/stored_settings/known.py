"""The system settings that the suite knows: their types, defaults, and who may read them.

An admin may store others; they have no default, and only admins and services read them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlsplit

from services.users.stored_settings.values import Kind
from shared.caller import Caller

NOTICE_CHARACTERS = 500
_EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]{1,189}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
Check = Callable[[str], str | None]


class Readers(IntEnum):
    """Who may read a setting; everyone listed below may as well."""

    ANYBODY = 0
    SIGNED_IN = 1
    ADMINS = 2


@dataclass(frozen=True, slots=True)
class Known:
    """A setting with a meaning. `check` returns what is wrong with a value of the right type."""

    kind: Kind
    default: str
    readers: Readers
    description: str
    check: Check = lambda _: None


def _at_most(characters: int) -> Check:
    return lambda value: None if len(value) <= characters else f"must have at most {characters} characters"


def _empty_or(pattern: re.Pattern[str], words: str) -> Check:
    return lambda value: None if not value or pattern.fullmatch(value) else words


def _https(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        is_good = not value or (parts.scheme == "https" and bool(parts.hostname) and value.isprintable())
    except ValueError:
        is_good = False
    return None if is_good else "must be empty or begin with https://"


KNOWN: Mapping[str, Known] = {
    "site.name": Known(
        Kind.STRING, "Gatehouse", Readers.ANYBODY, "The name of the site, for titles.", _at_most(100)
    ),
    "site.notice": Known(
        Kind.STRING, "", Readers.ANYBODY, "A notice for every page, for example before maintenance.",
        _at_most(NOTICE_CHARACTERS),
    ),
    "site.language": Known(
        Kind.STRING, "en", Readers.ANYBODY, "The language for people who have not chosen one.",
        _empty_or(_LANGUAGE, "must be a language tag, for example de or pt-BR"),
    ),
    "site.terms_url": Known(Kind.STRING, "", Readers.ANYBODY, "Where the terms of use are.", _https),
    "site.notice_is_urgent": Known(
        Kind.BOOLEAN, "false", Readers.ANYBODY, "Whether the notice is shown as a warning."
    ),
    "support.email": Known(
        Kind.STRING, "", Readers.SIGNED_IN, "Where people may write to.",
        _empty_or(_EMAIL, "must be empty or an e-mail address"),
    ),
    "support.hours": Known(
        Kind.STRING, "", Readers.SIGNED_IN, "When support responds, in words.", _at_most(100)
    ),
}  # fmt: skip


def readers_of(caller: Caller | None) -> Readers:
    if caller is None:
        return Readers.ANYBODY
    return Readers.ADMINS if caller.is_admin else Readers.SIGNED_IN
