"""How the inventory service handles events of other services."""

import httpx

from contracts.events import AccountDeleted
from shared.clock import now
from shared.events.event import Sealed
from shared.testing import bearer, internal_token
from tests.inventory import aws
from tests.inventory.aws import Double, World
from tests.inventory.support import ADMIN, ADMIN_ID, USER, add_account, sync


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
