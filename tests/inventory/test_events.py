"""How the inventory service handles events of other services."""

import json

import httpx

from contracts.events import AccountDeleted, ExportRequested
from services.inventory.models import ADVICE, EVENTS, SYNCS
from shared.clock import now
from shared.data.database import Database
from shared.data.statements import insert_row
from shared.events.event import Sealed
from shared.ids import new_id
from shared.testing import bearer, internal_token
from tests.inventory import aws
from tests.inventory.aws import Double, World
from tests.inventory.support import ADMIN, ADMIN_ID, USER, add_account, sync
from tests.told import events


async def test_syncs_of_a_deleted_account_are_kept_without_its_id(
    inventory: httpx.AsyncClient, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 2, 1)
    await add_account(inventory, double)
    done = await sync(inventory)
    assert done["by"] == ADMIN_ID
    event = Sealed("auth", AccountDeleted(account_id=ADMIN_ID, deleted=now()))
    told = await inventory.post(
        "/internal/events",
        content=f'{{"events": [{event.body}]}}',
        headers={
            **bearer(internal_token("inventory", issuer="auth")),
            "Content-Type": "application/json",
        },
    )
    assert told.status_code == 204, told.text

    rows = (await inventory.get("/sync/history", headers=USER)).json()
    assert [(row["id"], row["by"], row["state"], row["seen"]) for row in rows] == [
        (done["id"], None, "completed", done["seen"])
    ]
    followed = await inventory.get(f"/sync/{done['id']}/events", headers=ADMIN)
    assert followed.status_code == 404, "its job is gone"


async def test_export_has_the_syncs_and_the_advice_of_one_person(
    inventory: httpx.AsyncClient, database_url: str
) -> None:
    database, me = Database(database_url), new_id()
    moment = now()
    advice = {"workspace_id": "ws-1", "account": new_id(), "state": "dismissed", "basis": "{}"}
    try:
        with database.transaction() as session:
            for by in (me, new_id(), None):
                done = {"kind": "full", "trigger": "manual", "state": "completed", "by": by}
                insert_row(session, SYNCS, id=new_id(), **done)
                kind = {"kind": f"of {by}"[:20], "reason": f"because of {by}"}
                insert_row(
                    session, ADVICE, id=new_id(), **advice, **kind, by=by, found=moment, updated=moment
                )
    finally:
        database.close()
    event = Sealed("auth", ExportRequested(export_id=new_id(), account_id=me))
    told = await inventory.post(
        "/internal/events",
        content=f'{{"events": [{event.body}]}}',
        headers={
            **bearer(internal_token("inventory", issuer="auth")),
            "Content-Type": "application/json",
        },
    )
    assert told.status_code == 204, told.text
    parts = [one.data for one in events(database_url, EVENTS) if one.topic == "export.part"]
    rows = {one["section"]: json.loads(one["content"]) for one in parts if one["content"]}

    assert [one["is_last"] for one in parts] == [False, False, True]
    assert (rows["syncs"]["state"], rows["advice"]["reason"]) == ("completed", f"because of {me}")
    assert "by" not in rows["syncs"]
    assert not {"by", "basis"} & {*rows["advice"]}
