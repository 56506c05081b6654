"""The tables of both made-up services, and what they tell each other."""

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
# What was done, written with the event; the truth that everything is compared with.
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
    """Something was done to a thing; `manner` says how the other side takes it."""

    topic = "thing.done"
    key = "thing"

    thing: str
    number: int
    amount: int
    manner: str


class Heard(Event):
    """The same, as the other side reads it: it knows no manner `unreadable`."""

    topic: ClassVar[str] = Told.topic
    key = "thing"

    thing: str
    number: int
    amount: int
    manner: Literal["good", "shaky", "poison", "deadly"]


def manner_of(thing: str, number: int) -> Manner:
    """The same each time, so that a test knows what must have become of every event."""
    if (thing, number) == ("thing 0", 40):
        return "deadly"
    if number % 97 == 13:
        return "poison"
    if number % 211 == 7:
        return "unreadable"
    return "shaky" if number % 31 == 5 else "good"


DYING = ("poison", "unreadable", "deadly")  # what is never applied
