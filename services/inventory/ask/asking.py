"""Answering a question: from its text to the result."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlmodel import Session

from services.inventory import accounts, listing
from services.inventory.ask.grammar import NotUnderstood, understand
from services.inventory.ask.lexicon import Lexicon, Live, words_of
from services.inventory.ask.model import Model
from services.inventory.ask.query import Question
from services.inventory.ask.running import Found, run
from services.inventory.ask.words import said
from services.inventory.errors import QuestionNotUnderstood
from services.inventory.models import DIRECTORIES, TAGS, WORKSPACES
from shared.data.database import Database
from shared.errors import FieldFault, Invalid

UTC = ZoneInfo("UTC")
SUGGESTIONS = 3
WORDS_MAX = 60
TAG_KEYS_MAX = 50
EXAMPLES = (
    "How many WorkSpaces do we have?",
    "How many WorkSpaces per running mode?",
    "Which WorkSpaces have not been used in 30 days?",
    "Which WorkSpaces were never logged into?",
    "Who is connected now?",
    "Which users have more than one WorkSpace?",
    "Which WorkSpaces are in error?",
    "Always on WorkSpaces by region",
    "Which WorkSpaces lack the tag team?",
    "Average user volume per bundle",
    "Top 10 users",
    "New WorkSpaces this week",
    "Which WorkSpaces are not encrypted?",
    "WorkSpaces that are gone",
    "Total cost last month",
    "Cost per month this year",
    "Cost by team last month",
    "Top 10 most expensive WorkSpaces",
    "How much could we save?",
    "Always on WorkSpaces with less than 80 hours last month",
    "Average hours last month per bundle",
    "Stopped WorkSpaces with a user volume over 50 GB",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a question, with the query that was run."""

    question: Question
    understood: str
    text: str
    found: Found
    ms: int


def zone_named(name: str) -> ZoneInfo:
    """Return a time zone; raise Invalid if there is none of this name."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:  # unknown, a directory, or a path outside the zones
        message = "is not a known time zone; use one such as Europe/Berlin"
        raise Invalid(errors=[FieldFault(field="timezone", code="unknown_zone", message=message)]) from error


def ask(session: Session, prompt: str, zone: ZoneInfo = UTC) -> Answer:
    """Answer a question in English; raises QuestionNotUnderstood if a word has no meaning."""
    try:
        question = understand(prompt, Lexicon(live(session, prompt)))
    except NotUnderstood as error:
        words = error.words[:10]
        raise QuestionNotUnderstood(
            f"These words were not understood: {', '.join(words)}." if words else None,
            words=words,
            suggestions=nearest(prompt),
        ) from error
    return answer(session, question, zone)


async def ask_anyone(
    database: Database, model: Model, prompt: str, zone: ZoneInfo = UTC
) -> tuple[Answer, Literal["grammar", "model"]]:
    """Ask the grammar, then the model; raises QuestionNotUnderstood if neither has a query."""
    try:
        return await database.read(ask, prompt, zone), "grammar"
    except QuestionNotUnderstood:
        question = await model.question(prompt)
        if question is None:
            raise
        return await database.read(answer, question, zone), "model"


def answer(session: Session, question: Question, zone: ZoneInfo = UTC) -> Answer:
    begin = time.monotonic()
    found = run(session, question, zone)
    ms = round((time.monotonic() - begin) * 1000)
    return Answer(question, said(question, zone.key), _text(question, found), found, ms)


def _text(question: Question, found: Found) -> str:
    if question.entity == "costs" and not question.group_by:
        sums = [f"{amount:.2f} {currency}" for currency, amount in found.rows]
        return f"{', '.join(sums) or 'No costs'}."
    if question.entity == "advice" and not question.group_by:
        savings = [f"{low:.2f} to {high:.2f} {currency} per month" for currency, low, high in found.rows]
        return f"{', '.join(savings) or 'Nothing'}."
    if not question.measures:
        return f"{found.total} WorkSpace{'s' if found.total != 1 else ''}."
    if question.group_by:
        return f"{found.total} group{'s' if found.total != 1 else ''}."
    values = [
        f"{'none' if value is None else value} {column.unit}".strip()
        for column, value in zip(found.columns, found.rows[0], strict=True)
    ]
    return f"{', '.join(values)}."


def live(session: Session, prompt: str) -> Live:
    """Read the values that the question may name: users, directories, bundles, regions, accounts, tags."""
    spoken = words_of(prompt)[:WORDS_MAX]
    execute = session.connection().execute
    names = {form for word in _original(prompt) for form in (word, word.lower(), word.title(), word.upper())}
    users = execute(select(WORKSPACES.c.user_name).where(WORKSPACES.c.user_name.in_(names)).distinct())
    directories = execute(select(DIRECTORIES.c.directory_id, DIRECTORIES.c.name, DIRECTORIES.c.alias))
    by_directory = {
        name: row.directory_id for row in directories.all() for name in row if isinstance(name, str)
    }
    regions = listing.values(session, WORKSPACES.c.region)
    keys = listing.values(session, TAGS.c.key)[:TAG_KEYS_MAX]
    return Live(
        values={
            "user_name": {name: name for (name,) in users},
            "directory_id": by_directory,
            "bundle_name": _bundles(session),
            "region": {one: one for one in regions},
            "account": {one["name"]: one["id"] for one in accounts.live(session)},
        },
        tag_keys=keys,
        tag_values=_tag_values(
            session, keys, {one for one in (*_original(prompt), *spoken) if not one.isdecimal()}
        ),
    )


def _original(prompt: str) -> list[str]:
    """Split the question into words, keeping their case for values that are not lower case."""
    return [word.strip(".,;:?!'\"()").removesuffix("'s") for word in prompt.split()][:WORDS_MAX]


def _bundles(session: Session) -> dict[str, str]:
    found = {}
    for bundle_id in listing.values(session, WORKSPACES.c.bundle_id):
        one = select(WORKSPACES.c.bundle_name).where(WORKSPACES.c.bundle_id == bundle_id)
        name = session.connection().execute(one.order_by(WORKSPACES.c.id.desc()).limit(1)).scalar()
        if name:
            found[name] = name
    return found


def _tag_values(session: Session, keys: Sequence[str], words: set[str]) -> dict[str, str]:
    """Map the words that are values of exactly one tag key to that key."""
    found: dict[str, set[str]] = {}
    for key in keys:
        mine = select(TAGS.c.value).where(TAGS.c.key == key, TAGS.c.value.in_(words)).distinct()
        for (value,) in session.connection().execute(mine):
            found.setdefault(value, set()).add(key)
    return {value: keys_of.copy().pop() for value, keys_of in found.items() if len(keys_of) == 1}


def nearest(prompt: str) -> list[str]:
    """Return the examples that share the most words with the question."""
    asked = set(words_of(prompt))

    def shared(example: str) -> tuple[int, int]:
        return -len(asked & set(words_of(example))), EXAMPLES.index(example)

    return sorted(EXAMPLES, key=shared)[:SUGGESTIONS]


def as_dict(question: Question) -> dict[str, Any]:
    """Return the question as JSON that `/ai/run` accepts."""
    return question.model_dump(mode="json", exclude_none=True)
