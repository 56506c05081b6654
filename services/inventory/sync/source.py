"""The interface of a source: it fetches pages, saves rows, and finally marks missing rows as gone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlmodel import Session

from services.inventory.aws import Aws, Tally, Target
from shared.clock import now
from shared.data.database import Database

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """The account and region that a part reads, its start, and the start of the last complete scan."""

    account: str
    region: str
    number: str  # the account's number at AWS
    started: datetime
    last_scan: datetime | None
    budget: int | None = None  # requests that cost money: how many are left today

    @property
    def is_first(self) -> bool:
        return self.last_scan is None

    def seen(self) -> datetime:
        """Return the current time, but never before the scan began, even if the clocks of replicas differ."""
        return max(now(), self.started)


@dataclass(frozen=True, slots=True)
class Fetched:
    """One page. `missing` lists permissions that were denied."""

    rows: Sequence[Values]
    next: str | None
    missing: frozenset[str] = frozenset()
    seen: int | None = None  # how many rows AWS returned, if `rows` groups them

    @property
    def number(self) -> int:
        return len(self.rows) if self.seen is None else self.seen


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source needs to read: AWS, the database, the account, the place, and a tally of calls."""

    aws: Aws
    database: Database
    target: Target
    place: Place
    tally: Tally


class Source(Protocol):
    """One kind of data that an account has in a region."""

    async def fetch(self, reading: Reading, cursor: str | None, /) -> Fetched:
        """Fetch the page at the cursor."""

    def keep(self, session: Session, place: Place, rows: Sequence[Values], /) -> int:
        """Save rows that are new or changed; return their number."""

    def forget(self, session: Session, place: Place, most: int, /) -> int:
        """Delete or mark as gone up to `most` rows last seen before the scan; return their number."""


def text(value: object, most: int) -> str | None:
    """Convert to text that both databases can store."""
    return None if value is None else str(value).replace("\0", "")[:most]
