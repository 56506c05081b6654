"""Source of prices: AWS's price list of a region, which is the same for all accounts."""

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlmodel import Session

from services.inventory.aws import HOME_REGION, AwsFailed, Call, Kind
from services.inventory.models import PRICES
from services.inventory.pricing import rows_of
from services.inventory.sync.source import Fetched, Place, Reading, Values

ACTION = "pricing:GetProducts"
PAGE_ROWS = 100
SERVICE_CODE = "AmazonWorkSpaces"


class Prices:
    """Reads `GetProducts`. Without the permission there are no prices, and no advice to switch modes."""

    async def fetch(self, reading: Reading, cursor: str | None) -> Fetched:
        region = {"Type": "TERM_MATCH", "Field": "regionCode", "Value": reading.place.region}
        asked: dict[str, Any] = {"ServiceCode": SERVICE_CODE, "Filters": [region], "MaxResults": PAGE_ROWS}
        if cursor:
            asked["NextToken"] = cursor
        call = Call("pricing", "get_products", ACTION, asked)
        try:
            answer = await reading.aws.call(reading.target, HOME_REGION, call, reading.tally)
        except AwsFailed as error:
            if error.kind is not Kind.DENIED:
                raise
            return Fetched([], None, frozenset((ACTION,)))
        return Fetched([*rows_of(answer.get("PriceList", ()))], answer.get("NextToken") or None)

    def keep(self, session: Session, place: Place, rows: Sequence[Values]) -> int:
        execute, changed = session.connection().execute, 0
        reported = {_id(place.region, row): {**row, "region": place.region} for row in rows}
        listed = PRICES.c.id.in_([*reported])
        known = {row.id: row.price for row in execute(select(PRICES.c.id, PRICES.c.price).where(listed))}
        new = [{"id": one, **row, "seen": place.seen()} for one, row in reported.items() if one not in known]
        if new:
            execute(insert(PRICES), new)
        for one, price in known.items():
            if price != reported[one]["price"]:
                execute(update(PRICES).where(PRICES.c.id == one).values(price=reported[one]["price"]))
                changed += 1
        execute(update(PRICES).where(listed).values(seen=place.seen()))
        return changed + len(new)

    def forget(self, session: Session, place: Place, most: int) -> int:
        """Delete prices that AWS no longer lists."""
        stale = PRICES.c.region == place.region, PRICES.c.seen < place.started
        ids = session.connection().execute(select(PRICES.c.id).where(*stale).limit(most)).scalars().all()
        session.connection().execute(delete(PRICES).where(PRICES.c.id.in_(ids)))
        return len(ids)


def _id(region: str, row: Values) -> str:
    """Derive the id from everything but the price."""
    key = [region, *(f"{name}={row[name]}" for name in sorted(row) if name != "price")]
    return hashlib.sha256("\n".join(key).encode()).hexdigest()[:36]
