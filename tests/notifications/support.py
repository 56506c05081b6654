"""Accounts, and events as the other services send them."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import httpx

from contracts.events import AccountChanged, AccountCreated, OrderChanged, OrderPlaced
from services.notifications.models import DELIVERIES
from shared.data.database import Database
from shared.events import Event
from shared.events.event import Sealed
from shared.ids import new_id
from shared.testing import bearer, internal_token, token

ANN, BEN = new_id(), new_id()
ACCOUNTS = {one: {"id": one, "email": f"{one[-4:]}@example.com"} for one in (ANN, BEN)}
ADMIN_ID = new_id()
ADMIN = bearer(token(ADMIN_ID, role="admin"))
KEY_SECRET = "5e0f8a1b2c3d4e5f60718293a4b5c6d7"
MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)

Start = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def person() -> tuple[str, dict[str, str]]:
    """Return a new account id and the headers of its owner."""
    user_id = new_id()
    return user_id, bearer(token(user_id))


async def tell(client: httpx.AsyncClient, *events: Event) -> None:
    """Deliver events in the name of the service that emits them."""
    source = str(events[0].source)
    bodies = ",".join(Sealed(source, event).body for event in events)
    await tell_bodies(client, source, bodies)


async def tell_bodies(client: httpx.AsyncClient, source: str, bodies: str) -> None:
    headers = bearer(internal_token("notifications", issuer=source)) | {"Content-Type": "application/json"}
    told = await client.post("/internal/events", content=f'{{"events":[{bodies}]}}', headers=headers)
    assert told.status_code == 204, told.text


def placed(user_id: str, **changes: Any) -> OrderPlaced:
    return OrderPlaced.model_validate({**_order(user_id), **changes})


def stepped(user_id: str, before: str, after: str, **changes: Any) -> OrderChanged:
    return OrderChanged.model_validate(
        {**_order(user_id), "status_before": before, "status": after, **changes}
    )


def account(
    user_id: str, kind: type[AccountCreated | AccountChanged] = AccountCreated, **changes: Any
) -> AccountCreated | AccountChanged:
    state = {
        "account_id": user_id,
        "email": f"{user_id[-6:]}@example.com",
        "username": None,
        "role": "user",
        "status": "active",
        "first_name": None,
        "last_name": None,
        "created": MOMENT,
        "updated": MOMENT,
    }
    return kind.model_validate({**state, **changes})


def is_usual(choice: dict[str, Any]) -> bool:
    """Whether a choice is on by default: all but text messages, and mails about stopped boxes."""
    return choice["channel"] != "sms" and (choice["type"], choice["channel"]) != ("box.stopped", "email")


def _order(user_id: str) -> dict[str, Any]:
    return {
        "order_id": new_id(),
        "user_id": user_id,
        "status": "pending",
        "product_name": "Laptop",
        "quantity": 2,
        "total_minor": 99999,
        "currency": "USD",
        "updated": MOMENT,
    }


def table_of_deliveries(database_url: str) -> list[dict[str, Any]]:
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction(write=False) as session:
            return [dict(row) for row in session.connection().execute(DELIVERIES.select()).mappings()]
    finally:
        database.close()
