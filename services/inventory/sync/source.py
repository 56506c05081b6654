"""What a source of AWS is to a sync: pages to fetch, rows to write, and rows to call gone at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlmodel import Session

from services.inventory.aws import Aws, Tally, Target
from shared.clock import now

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part of a sync reads, since when, and when the last one began that has read all of it."""

    account: str
    region: str
    number: str  # of the account in AWS
    started: datetime
    last_scan: datetime | None
    budget: int | None = None  # of requests that cost money, what is left of today

    @property
    def is_first(self) -> bool:
        return self.last_scan is None

    def seen(self) -> datetime:
        """When a row was seen: never before the scan began, also when clocks of replicas differ."""
        return max(now(), self.started)


@dataclass(frozen=True, slots=True)
class Fetched:
    """One page. `missing` are permissions that it had to do without."""

    rows: Sequence[Values]
    next: str | None
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source reads: as whom, from where, and how many calls that takes."""

    aws: Aws
    target: Target
    place: Place
    tally: Tally


class Source(Protocol):
    """One kind of thing that an account has in a region."""

    async def fetch(self, reading: Reading, cursor: str | None, /) -> Fetched:
        """The page that begins at the cursor."""

    def keep(self, session: Session, place: Place, rows: Sequence[Values], /) -> int:
        """Write what differs from what is there; returns how many rows that were."""

    def forget(self, session: Session, place: Place, most: int, /) -> int:
        """Of those that were last seen before the scan began call so many gone; returns how many."""


def text(value: object, most: int) -> str | None:
    """Text as both databases can keep it."""
    return None if value is None else str(value).replace("\0", "")[:most]
