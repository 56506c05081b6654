"""The phrases that questions consist of, with their meanings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from services.inventory.ask.fields import FIELDS, TAG

PHRASE_WORDS_MAX = 6
_WORD = re.compile(r"[\w@./:+-]*\w", re.UNICODE)


class Part(StrEnum):
    """The grammatical role of a phrase."""

    NOISE = "noise"  # ignored: the, of, please
    COUNT = "count"
    LIST = "list"
    FN = "fn"  # average, total, largest
    NOUN = "noun"  # WorkSpaces
    FIELD = "field"
    BY = "by"
    TAGGED = "tagged"
    WITHOUT = "without"
    CONDITION = "condition"  # a whole filter
    COMPARE = "compare"
    AGE = "age"  # unused for, new in, changed state: a time span follows
    LAST = "last"  # in the last, this: a unit follows
    UNIT = "unit"
    IN_USE = "in use"
    NUMBER = "number"
    TOP = "top"
    MANY = "many"  # more than one
    AND = "and"
    OR = "or"
    NOT = "not"
    COST = "cost"
    COSTLY = "costly"  # most expensive
    MUCH = "much"  # how much
    SAVE = "save"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Token:
    part: Part
    text: str
    value: Any = None


Phrases = dict[str, tuple[Part, Any]]


def _all(part: Part, *phrases: str, value: Any = None) -> Phrases:
    return dict.fromkeys(phrases, (part, value))


def _is(name: str, *values: str) -> tuple[str, str, Any]:
    return (name, "eq", values[0]) if len(values) == 1 else (name, "in", list(values))


_STATES = (
    "AVAILABLE STOPPED ERROR UNHEALTHY MAINTENANCE PENDING REBOOTING STARTING STOPPING SUSPENDED".split()
)
_COMPUTE_TYPES = "VALUE STANDARD PERFORMANCE POWER POWERPRO GRAPHICS GRAPHICSPRO".split()
FIXED: Phrases = {
    **_all(
        Part.NOISE,
        *"""
        the a an of is are was were be been do does we i you our my me us have has had in on at to for please
        there that which's it its their them all any currently ones one's with who's what's s can could would
        like see tell give find now today still exist exists running's these those from out just only
        aws amazon
        """.split(),
    ),
    **_all(Part.COUNT, "how many", "number of", "count", "count of", "the number of"),
    **_all(
        Part.LIST,
        "show",
        "show me",
        "list",
        "which",
        "what",
        "who",
        "whose",
        "find",
        "display",
        "get",
        "where",
    ),
    **_all(
        Part.NOUN,
        *(
            "workspaces",
            "workspace",
            "desktops",
            "desktop",
            "machines",
            "machine",
            "virtual desktops",
            "vdis",
        ),
    ),
    **_all(Part.FN, "average", "mean", "avg", "on average", value="avg"),
    **_all(Part.FN, "total", "sum", "sum of", "altogether", "combined", value="sum"),
    **_all(Part.FN, "largest", "biggest", "maximum", "max", "highest", value="max"),
    **_all(Part.FN, "smallest", "minimum", "min", "lowest", value="min"),
    **_all(Part.BY, "by", "per", "for each", "each", "grouped by", "for every", "broken down by", "split by"),
    **_all(Part.TAGGED, "tag", "tags", "tagged", "with tag", "with the tag", "labelled"),
    **_all(
        Part.WITHOUT,
        *(
            "without",
            "lack",
            "lacks",
            "lacking",
            "missing",
            "miss",
            "without a",
            "have no",
            "has no",
            "with no",
        ),
    ),
    **_all(
        Part.COST,
        *(
            "cost",
            "costs",
            "spend",
            "spending",
            "spent",
            "bill",
            "bills",
            "billing",
            "expenses",
            "expense",
            "pay",
            "paid",
        ),
    ),
    **_all(Part.COSTLY, "expensive", "most expensive", "costliest", "priciest", value="most"),
    **_all(Part.COSTLY, "cheapest", "least expensive", value="least"),
    **_all(Part.MUCH, "how much", "did"),
    **_all(Part.SAVE, "save", "saved", "saving", "savings", "possible savings"),
    **_all(Part.IN_USE, "in use", "in use now"),
    **_all(Part.AND, "and", ",", "also", "that are", "which are", "but"),
    **_all(Part.OR, "or"),
    **_all(Part.NOT, "not", "other than", "except"),
    **_all(
        Part.COMPARE, "more than", "over", "above", "greater than", "larger than", "bigger than", value="gt"
    ),
    **_all(Part.COMPARE, "at least", "or more", "minimum of", value="ge"),
    **_all(Part.COMPARE, "less than", "under", "below", "fewer than", "smaller than", value="lt"),
    **_all(Part.COMPARE, "at most", "up to", "no more than", value="le"),
    **_all(Part.COMPARE, "exactly", "equal to", value="eq"),
    **_all(Part.UNIT, "day", "days", value=1),
    **_all(Part.UNIT, "week", "weeks", value=7),
    **_all(Part.UNIT, "month", "months", value=30),
    **_all(Part.UNIT, "year", "years", value=365),
    **_all(Part.UNIT, "gb", "gib", "gigabyte", "gigabytes", "minutes", "minute", value=0),
    **_all(
        Part.LAST,
        "in the last",
        "within the last",
        "in the past",
        "within",
        "during the last",
        value="rolling",
    ),
    **_all(Part.LAST, "last", "past", value="counted"),
    **_all(Part.LAST, "this", "since the beginning of this", value="calendar"),
    **_all(Part.TOP, "top", "first", value="most"),
    **_all(Part.TOP, "most", "with the most", "with most", "have the most", "has the most", value="most"),
    **_all(Part.TOP, "fewest", "with the fewest", "least", value="least"),
    **_all(Part.MANY, "more than one", "several", "multiple", "two or more", "duplicate", value=1),
    **{one.lower(): (Part.CONDITION, _is("state", one)) for one in _STATES},
    **_all(Part.CONDITION, "running", "up", "started", "switched on", value=_is("state", "AVAILABLE")),
    **_all(Part.CONDITION, "switched off", "off", "shut down", "down", value=_is("state", "STOPPED")),
    **_all(
        Part.CONDITION,
        *("broken", "failed", "failing", "faulty", "in trouble"),
        value=_is("state", "ERROR", "UNHEALTHY", "IMPAIRED"),
    ),
    **_all(Part.CONDITION, "in error", "with errors", value=_is("state", "ERROR")),
    **_all(
        Part.CONDITION,
        *("always on", "always-on", "alwayson", "always_on"),
        value=_is("running_mode", "ALWAYS_ON"),
    ),
    **_all(
        Part.CONDITION,
        *("auto stop", "auto-stop", "autostop", "auto_stop", "hourly"),
        value=_is("running_mode", "AUTO_STOP"),
    ),
    **_all(
        Part.CONDITION,
        *("connected", "connected now", "online", "logged in", "signed in", "logged on"),
        value=_is("connection_state", "CONNECTED"),
    ),
    **_all(
        Part.CONDITION,
        "disconnected",
        "not connected",
        "offline",
        value=_is("connection_state", "DISCONNECTED"),
    ),
    **_all(Part.CONDITION, "encrypted", "fully encrypted", value=("is_encrypted", "eq", True)),
    **_all(
        Part.CONDITION,
        *("unencrypted", "not encrypted", "without encryption", "unencrypted volumes", "not fully encrypted"),
        *("have unencrypted volumes", "no encryption", "unencrypted disks"),
        value=("is_encrypted", "eq", False),
    ),
    **_all(
        Part.CONDITION,
        *("never used", "never connected", "never logged into", "never logged in to", "never logged in"),
        *(
            "never been used",
            "never been connected",
            "never been logged into",
            "never signed in",
            "never opened",
        ),
        *(
            "nobody has used",
            "nobody ever used",
            "nobody uses",
            "have never connected",
            "has never connected",
        ),
        value=("last_connection", "is_null", None),
    ),
    **_all(
        Part.CONDITION,
        *("gone", "deleted", "terminated", "removed", "no longer there", "disappeared"),
        value=_is("presence", "gone"),
    ),
    **_all(
        Part.AGE,
        *(
            "not used",
            "not been used",
            "unused",
            "not connected for",
            "not been connected",
            "idle",
            "inactive",
        ),
        *(
            "not logged into",
            "not been logged into",
            "without a connection",
            "untouched",
            "haven't been used",
        ),
        *("have not been used", "has not been used", "not used for", "without connection", "not been opened"),
        value=("days_unused", "ge"),
    ),
    **_all(
        Part.AGE,
        *("new", "created", "added", "found", "were created", "were added", "appeared", "newly created"),
        value=("days_known", "le"),
    ),
    **_all(
        Part.AGE,
        *("used", "connected to", "been used", "were used", "logged into", "have been used"),
        value=("last_connection", "le"),
    ),
    **_all(
        Part.AGE,
        *("changed state", "changed their state", "state changed", "started or stopped"),
        value=("days_in_state", "le"),
    ),
    **{one.lower(): (Part.CONDITION, _is("compute_type", one)) for one in _COMPUTE_TYPES},
    **_all(Part.CONDITION, "windows", value=("os", "contains", "windows")),
    **_all(Part.CONDITION, "linux", value=("os", "contains", "linux")),
}
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()


@dataclass(frozen=True, slots=True)
class Live:
    """The current field values and tag keys, by the phrases that name them."""

    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # field: {phrase: value}
    tag_keys: Sequence[str] = ()
    tag_values: Mapping[str, str] = field(default_factory=dict)  # value: key, if only one key has it


class Lexicon:
    """All phrases, fixed and current; the longest match wins."""

    def __init__(self, live: Live) -> None:
        phrases: Phrases = {}
        for value, key in live.tag_values.items():
            phrases |= _all(Part.CONDITION, value.lower(), value=(TAG + key, "eq", value))
        for key in live.tag_keys:
            spoken = {key.lower(), re.sub(r"[-_]", " ", key.lower()), re.sub(r"[-_ ]", "", key.lower())}
            phrases |= _all(Part.FIELD, *spoken, value=TAG + key)
        for name, spoken_values in live.values.items():
            for spoken_value, value in spoken_values.items():
                phrases |= _all(Part.CONDITION, spoken_value.lower(), value=(name, "eq", value))
        phrases |= FIXED
        for name, one in FIELDS.items():
            phrases |= _all(Part.FIELD, *one.synonyms, value=name)
        self._phrases = {phrase: meaning for phrase, meaning in phrases.items() if phrase}
        self._tag_keys = {key.lower(): key for key in live.tag_keys}

    def tokens(self, question: str) -> list[Token]:
        """Split the question into phrases; a word in no phrase is a number or unknown."""
        words = words_of(question)
        found: list[Token] = []
        place = 0
        while place < len(words):
            token, length = self._longest(words, place)
            found.append(token)
            place += length
        return found

    def _longest(self, words: Sequence[str], place: int) -> tuple[Token, int]:
        for length in range(min(PHRASE_WORDS_MAX, len(words) - place), 0, -1):
            phrase = " ".join(words[place : place + length])
            if (meaning := self._phrases.get(phrase)) is not None:
                return Token(meaning[0], phrase, meaning[1]), length
        return self._alone(words[place]), 1

    def _alone(self, word: str) -> Token:
        if word.isascii() and word.isdecimal() and len(word) <= 6:
            return Token(Part.NUMBER, word, int(word))
        if word in NUMBERS:
            return Token(Part.NUMBER, word, NUMBERS.index(word))
        key, colon, value = word.partition(":")
        if colon and value and key in self._tag_keys:
            return Token(Part.CONDITION, word, (TAG + self._tag_keys[key], "eq", value))
        return Token(Part.UNKNOWN, word)


def words_of(question: str) -> list[str]:
    """Split text into lower-case words, with a possessive 's as its own word."""
    plain = question.casefold().replace("\u2019", "'").replace("=", ":")
    plain = re.sub(r"(\d)(gb|gib)\b", r"\1 \2", plain)
    plain = re.sub(r"'s\b|s'(?=\s|$)", " s ", plain)
    plain = re.sub(r"n't\b", " not", plain) if "n't" in plain else plain
    return _WORD.findall(plain)
