"""How events of other services become notifications, and what happens to deleted accounts."""

import itertools
import json
from datetime import timedelta

import httpx
import pytest

from contracts.boxes import BoxStopped
from contracts.events import (
    AccountChanged,
    AccountDeleted,
    ExportRequested,
    StockLow,
    SyncFinished,
    WorkspaceGone,
)
from contracts.invoices import InvoiceIssued
from services.notifications import duties
from services.notifications.app import create_app
from services.notifications.models import EVENTS, NOTIFICATIONS, RECIPIENTS
from services.notifications.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.events.event import Sealed
from shared.ids import first_id, new_id
from shared.testing import running
from tests.notifications.support import ADMIN, account, is_usual, person, placed, stepped, tell, tell_bodies
from tests.told import events


async def shown(client: httpx.AsyncClient, headers: dict[str, str]) -> list[tuple[str, str]]:
    """Return title and severity of someone's notifications, oldest first."""
    rows = (await client.get("/notifications", headers=headers)).json()
    return [(one["title"], one["severity"]) for one in reversed(rows)]


async def test_same_event_twice_is_one_notification(client: httpx.AsyncClient) -> None:
    me, mine = person()
    body = Sealed("orders", placed(me)).body
    await tell_bodies(client, "orders", f"{body},{body}")
    await tell_bodies(client, "orders", body)

    assert await shown(client, mine) == [("Your order was placed", "success")]


async def test_owner_is_notified_of_each_step_of_an_order_but_not_of_changed_content(
    client: httpx.AsyncClient,
) -> None:
    me, mine = person()
    steps = ["pending", "confirmed", "shipped", "delivered", "returned"]
    told = [stepped(me, before, after) for before, after in itertools.pairwise(steps)]
    await tell(client, stepped(me, "pending", "pending"), *told, stepped(me, "pending", "cancelled"))

    assert await shown(client, mine) == [
        ("Your order is confirmed", "success"),
        ("Your order is on its way", "info"),
        ("Your order was delivered", "success"),
        ("Your order was returned", "info"),
        ("Your order was cancelled", "warning"),
    ]


async def test_longest_product_name_fits(client: httpx.AsyncClient) -> None:
    me, mine = person()
    await tell(client, placed(me, product_name="<b>" + "x" * 197))

    assert await shown(client, mine) == [("Your order was placed", "success")]


async def test_owner_of_an_order_is_notified_of_its_invoice_and_credit_note(
    client: httpx.AsyncClient,
) -> None:
    me, mine = person()
    await tell(client, account(me))
    facts = {"invoice_id": new_id(), "order_id": new_id(), "user_id": me, "issued": now()}
    invoice = {"kind": "invoice", "number": "INV-2026-000001", "total_minor": 99_998, "currency": "USD"}
    credit = {"kind": "credit_note", "number": "CRN-2026-000001", "total_minor": 500, "currency": "JPY"}
    for given in (invoice, credit):
        event = InvoiceIssued.model_validate({**facts, **given})
        await tell(client, event)

    rows = (await client.get("/notifications", headers=mine)).json()
    assert [(one["title"], one["data"]["number"]) for one in rows] == [
        ("Your credit note was issued", "CRN-2026-000001"),
        ("Your invoice was issued", "INV-2026-000001"),
    ]
    assert "for 500 JPY" in rows[0]["content"]
    assert "for 999.98 USD" in rows[1]["content"]


async def test_only_active_admins_are_notified_of_a_failed_sync(client: httpx.AsyncClient) -> None:
    (boss, theirs), (former, old), (user, mine) = person(), person(), person()
    await tell(client, account(boss, role="admin"), account(former, role="admin"), account(user))
    await tell(client, account(former, AccountChanged, role="user"))
    names = {"kind": "all", "seen": 0, "changed": 0, "gone": 0, "accounts": ()}
    for state in ("completed", "partial", "failed"):
        await tell(client, SyncFinished.model_validate({"sync_id": new_id(), "state": state, **names}))

    assert await shown(client, theirs) == [("A sync of the AWS accounts failed", "error")]
    assert await shown(client, old) == await shown(client, mine) == []


async def test_admins_are_notified_of_low_stock_and_once_of_all_workspaces_that_a_sync_misses(
    client: httpx.AsyncClient,
) -> None:
    (boss, theirs), (user, mine) = person(), person()
    await tell(client, account(boss, role="admin", email_verified=True), account(user))
    names = {"product_id": new_id(), "sku": "LT-1", "name": "Laptop", "available": 2, "low_at": 5}
    await tell(client, StockLow.model_validate(names))
    where = {"account": new_id(), "region": "eu-central-1", "user_name": "ann"}
    gone = [WorkspaceGone.model_validate({"workspace_id": f"ws-{each}", **where}) for each in range(150)]
    counts = {"kind": "all", "state": "partial", "seen": 9, "changed": 0, "gone": 175, "accounts": ()}
    ends = [
        SyncFinished.model_validate({"sync_id": new_id(), **counts, "workspaces_gone": number})
        for number in (0, 150, 1)
    ]
    await tell(client, *gone[:100])
    await tell(client, *gone[100:], *ends)
    rows = (await client.get("/notifications", headers=theirs)).json()
    mails = (await client.get("/notifications/deliveries", headers=ADMIN)).json()

    assert await shown(client, theirs) == [
        ("The stock of a product is low", "warning"),
        ("150 WorkSpaces are gone", "info"),
        ("A WorkSpace is gone", "info"),
    ]
    assert rows[2]["content"].startswith("Laptop (LT-1): 2 available.")
    assert rows[1]["content"] == "AWS no longer lists them. Filter the list of WorkSpaces by gone=true."
    assert [one["data"] for one in rows[:2]] == [{"sync_id": one.sync_id} for one in (ends[2], ends[1])]
    assert [one["user_id"] for one in mails] == 3 * [boss]
    assert await shown(client, mine) == []


async def test_owner_is_notified_of_a_stopped_box_unless_they_stopped_it(client: httpx.AsyncClient) -> None:
    me, mine = person()
    await tell(client, account(me, email_verified=True))
    for reason in ("user", "disabled", "deleted", "idle", "disk_full", "admin", "killed"):
        await tell(client, BoxStopped(box_id="box", user_id=me, reason=reason, stopped=now()))

    assert await shown(client, mine) == [
        ("Your box was stopped because it was idle", "info"),
        ("Your box was stopped because its disk is full", "warning"),
        ("An admin stopped your box", "warning"),
        ("Your box has ended", "warning"),
    ]
    mails = (await client.get(f"/notifications/deliveries?user_id={me}", headers=ADMIN)).json()
    assert mails == [], "nobody gets mails about it without asking for them"


async def test_deleted_account_loses_everything_and_later_events_about_it_are_ignored(
    client: httpx.AsyncClient, database_url: str
) -> None:
    (me, mine), (other, theirs) = person(), person()
    off = {"choices": [{"type": "order.changed", "channel": "in_app", "on": False}]}
    for user_id, headers in ((me, mine), (other, theirs)):
        await tell(client, account(user_id))
        await tell(client, placed(user_id))
        await client.put("/notifications/preferences", json=off, headers=headers)
    await tell(client, AccountDeleted(account_id=me, deleted=now()))
    await tell(client, placed(me), placed(other))
    await tell(client, account(me, AccountChanged))  # one that was delayed

    assert await shown(client, mine) == []
    assert len(await shown(client, theirs)) == 2
    preferences = (await client.get("/notifications/preferences", headers=mine)).json()
    assert all(one["on"] == is_usual(one) for one in preferences["choices"])
    database = Database(database_url, pool_size=1)
    with database.transaction(write=False) as session:
        row = session.connection().execute(RECIPIENTS.select().where(RECIPIENTS.c.user_id == me)).one()
    database.close()
    assert (row.email, row.role, row.status) == (None, "", "deleted")


async def test_export_has_what_is_stored_about_its_person(
    client: httpx.AsyncClient, database_url: str
) -> None:
    (me, mine), (other, _) = person(), person()
    off = {"choices": [{"type": "order.changed", "channel": "in_app", "on": False}]}
    await tell(client, account(me), account(other))
    await tell(client, placed(me), placed(other))
    await client.put("/notifications/preferences", json=off, headers=mine)
    await tell(client, ExportRequested(export_id=new_id(), account_id=me))
    parts = [one.data for one in events(database_url, EVENTS) if one.topic == "export.part"]
    rows = {one["section"]: one["content"].splitlines() for one in parts if one["content"]}

    assert [one["is_last"] for one in parts] == [False, False, False, True]
    assert {name: len(lines) for name, lines in rows.items()} == dict.fromkeys(rows, 1)
    assert json.loads(rows["notifications"][0])["title"] == "Your order was placed"
    assert json.loads(rows["notification_preferences"][0])["choices"] == (
        '{"order.changed": {"in_app": false}}'
    )
    assert json.loads(rows["notification_recipient"][0])["email"] == f"{me[-6:]}@example.com"


async def test_old_notifications_and_traces_of_deleted_accounts_are_deleted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are made once the service has stopped, because its own duty would delete some of them."""
    monkeypatch.setattr(duties, "BATCH_ROWS", 2)
    me, gone, long_gone = (new_id() for _ in range(3))
    async with running(create_app, settings) as client:
        await tell(client, account(me), account(long_gone))
        await tell(client, *(placed(me) for _ in range(4)))
        await tell(client, AccountDeleted(account_id=gone, deleted=now()))
    database = Database(settings.database_url, pool_size=1)
    old = [first_id(now(), -timedelta(days=91, seconds=number)) for number in range(3)]
    with database.transaction() as session:
        execute = session.connection().execute
        (row, *_) = execute(NOTIFICATIONS.select()).mappings()
        execute(NOTIFICATIONS.insert(), [{**row, "id": one} for one in old])
        execute(NOTIFICATIONS.insert(), {**row, "id": new_id(), "user_id": gone})  # it was late
        long_ago = RECIPIENTS.update().where(RECIPIENTS.c.user_id == long_gone)
        execute(long_ago.values(deleted=now() - timedelta(days=91)))
    try:
        kept = timedelta(days=settings.notification_days)
        deleted = [duties.delete_old_notifications(database, kept) for _ in range(3)]
        late = [duties.delete_late_rows(database, NOTIFICATIONS) for _ in range(2)]
        forgotten = [duties.forget_deleted_accounts(database) for _ in range(2)]
        with database.transaction(write=False) as session:
            left = {one.user_id for one in session.connection().execute(RECIPIENTS.select())}
            owners = [one.user_id for one in session.connection().execute(NOTIFICATIONS.select())]
    finally:
        database.close()

    assert (deleted, late, forgotten) == ([2, 1, 0], [1, 0], [1, 0])
    assert left == {me, gone}
    assert owners == [me] * 4
