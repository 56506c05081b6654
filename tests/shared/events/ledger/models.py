"""The tables of both made-up services, and their event."""

from typing import ClassVar, Literal

from sqlalchemy import Column, Integer, MetaData, String, Table

from shared.events import Event, EventTables

METADATA = MetaData()
EVENTS = EventTables(METADATA)
THINGS = Table(
    "things",
    METADATA,
    Column("thing", String(20), primary_key=True),
    Column("number", Integer, nullable=False),
)
# The actions, written in the same transaction as their events: the expected result.
DONE = Table(
    "done",
    METADATA,
    Column("thing", String(20), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("amount", Integer, nullable=False),
)
APPLIED = Table(
    "applied",
    METADATA,
    Column("place", Integer, primary_key=True, autoincrement=True),
    Column("thing", String(20), nullable=False),
    Column("number", Integer, nullable=False),
    Column("amount", Integer, nullable=False),
)

Manner = Literal["good", "shaky", "poison", "unreadable", "deadly"]


class Told(Event):
    """Something was done to a thing; `manner` says what the receiver does with the event."""

    topic = "thing.done"
    key = "thing"

    thing: str
    number: int
    amount: int
    manner: str


class Heard(Event):
    """The same event as read by the receiver, which has no manner `unreadable`."""

    topic: ClassVar[str] = Told.topic
    key = "thing"

    thing: str
    number: int
    amount: int
    manner: Literal["good", "shaky", "poison", "deadly"]


def manner_of(thing: str, number: int) -> Manner:
    """Return the manner of an event; it is deterministic, so tests know the expected outcome."""
    if (thing, number) == ("thing 0", 40):
        return "deadly"
    if number % 97 == 13:
        return "poison"
    if number % 211 == 7:
        return "unreadable"
    return "shaky" if number % 31 == 5 else "good"


DYING = ("poison", "unreadable", "deadly")  # manners whose events are never applied
