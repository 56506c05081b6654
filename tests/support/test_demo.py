"""What the demo company wrote is dated back; unsolved tickets stay, because old ones would be overdue."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

from services.support import demo
from shared.data.database import Database
from tests.support.people import People

DAYS = 90


async def test_only_solved_tickets_are_dated_back(people: People, database_url: str) -> None:
    solved, fresh = await people.open(), await people.open()
    await people.reply(solved, people.agent)
    assert (await people.move(solved, people.agent, "resolved")).status_code == 200
    before = await people.show(solved)

    for _ in range(2):
        with closing(Database(database_url, pool_size=1)) as database, database.transaction() as session:
            demo.move_back(session, [people.owner_id], DAYS)

    after = await people.show(solved)
    moved = {
        name: datetime.fromisoformat(before[name]) - datetime.fromisoformat(after[name])
        for name in ("created", "resolved", "first_replied", "first_reply_due", "resolve_due")
    }
    assert set(moved.values()) == {timedelta(days=DAYS / 2)}
    assert datetime.now(UTC) - datetime.fromisoformat(after["created"]) > timedelta(days=DAYS / 2)
    assert (await people.show(fresh))["created"] == fresh["created"]
