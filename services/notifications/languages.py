"""The languages of mails and notifications, and how each writes numbers, amounts, dates and terms."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from shared.data.money import from_minor
from shared.words import pattern

TAG_CHARACTERS_MAX = 35
TAG = pattern(r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$", "must be a language tag such as de or en-GB")


class Language(StrEnum):
    """A language in which every text exists."""

    ENGLISH = "en"
    GERMAN = "de"


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of money, in the smallest unit of its currency."""

    minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Term:
    """A word of another service, such as a status. A language that does not know it shows it as it is."""

    word: str


Value = str | int | Amount | Term | datetime

_MONTHS = {
    Language.ENGLISH: "January February March April May June July August September October November December",
    Language.GERMAN: "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
}
_TERMS: Mapping[Language, Mapping[str, str]] = {
    Language.ENGLISH: {},  # the services name everything in English
    Language.GERMAN: {
        "invoice": "Rechnung",
        "credit_note": "Gutschrift",
        "pending": "ausstehend",
        "confirmed": "bestätigt",
        "shipped": "versandt",
        "delivered": "zugestellt",
        "cancelled": "storniert",
        "returned": "zurückgesendet",
        "open": "offen",
        "in_progress": "in Arbeit",
        "waiting": "wartet",
        "resolved": "gelöst",
        "closed": "geschlossen",
        "all": "alles",
        "low": "niedrig",
        "medium": "mittel",
        "high": "hoch",
        "urgent": "dringend",
        "authenticator app": "Authenticator-App",
        "a passkey": "ein Passkey",
        "all second factors, by an admin": "alle zweiten Faktoren, durch einen Admin",
    },
}
_TO_GERMAN = str.maketrans(",.", ".,")


def language_of(tag: str | None, default: Language) -> Language:
    """Return the language of a tag: `de-AT` is German, and a language without texts falls back to English.

    Without a tag, return the default.
    """
    if tag is None:
        return default
    primary = tag.partition("-")[0].lower()
    return Language(primary) if primary in {*Language} else Language.ENGLISH


def shown(value: Value, language: Language) -> str:
    """Write a value as people who read this language expect it."""
    if isinstance(value, str):
        return value
    if isinstance(value, Term):
        return _TERMS[language].get(value.word, value.word.replace("_", " "))
    if isinstance(value, datetime):
        return _moment(value, language)
    if isinstance(value, Amount):
        return f"{_number(f'{from_minor(value.minor, value.currency):,}', language)} {value.currency}"
    return _number(f"{value:,}", language)


def _number(english: str, language: Language) -> str:
    return english.translate(_TO_GERMAN) if language is Language.GERMAN else english


def _moment(at: datetime, language: Language) -> str:
    at = at.astimezone(UTC)
    day, month = at.day, _MONTHS[language].split()[at.month - 1]
    date = f"{day}. {month} {at.year}" if language is Language.GERMAN else f"{day} {month} {at.year}"
    return f"{date}, {at:%H:%M} UTC"
