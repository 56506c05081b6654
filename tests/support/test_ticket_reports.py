"""Reports about tickets: what is in them, and who gets them."""

from contextlib import closing
from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import update

from services.support.models import TICKETS
from shared.clock import now
from shared.data.database import Database
from shared.ids import new_id
from shared.testing import bearer, token
from tests.pdfs import archive_faults, text_of
from tests.reports import begun, ended, file_of, rows_of, written
from tests.shared.test_workbooks import read as workbook
from tests.support.peers import AGENT
from tests.support.people import People
from tests.support.test_events import delete_account

PATH = "/reports/tickets"


def period(ticket: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "tickets", "month": ticket["created"][:7], "months": 2}


def make_late(database_url: str, ticket: dict[str, Any], name: str) -> None:
    """Move a due time into the past."""
    late = update(TICKETS).where(TICKETS.c.id == ticket["id"]).values({name: now() - timedelta(hours=1)})
    with closing(Database(database_url, pool_size=1)) as database, database.transaction() as session:
        session.connection().execute(late)


async def test_files_have_each_ticket_without_its_texts_and_notes(people: People) -> None:
    first = await people.open(subject="=HYPERLINK(1)", priority="urgent")
    await people.reply(first, people.agent, "A secret note", internal=True)
    await people.reply(first, people.agent, "A public reply")
    second = await people.open()
    response = await written(people.client, PATH, people.agent, **period(first), format="csv")
    rows = rows_of(response.content)
    book = await written(people.client, PATH, people.agent, **period(first), format="xlsx")
    header, *cells = workbook(book.content)
    name = f'filename="tickets-{first["created"][:7]}-2.csv"'

    assert [one["number"] for one in rows] == [first["number"], second["number"]]
    assert [one["subject"] for one in rows] == ["'=HYPERLINK(1)", second["subject"]]
    assert [(one["status"], one["reply_count"]) for one in rows] == [("waiting", "1"), ("open", "0")]
    assert [row[header.index("number")] for row in cells] == [first["number"], second["number"]]
    assert [row[header.index("reply_count")] for row in cells] == ["n:1", "n:0"]
    assert "note_count" not in header
    for hidden in (b"secret", b"public reply", first["description"].encode()):
        assert hidden not in response.content
    assert name in response.headers["content-disposition"]


async def test_pdf_counts_tickets_by_month_and_priority_and_those_that_were_late(
    people: People, database_url: str
) -> None:
    waiting, unanswered, solved = [await people.open() for _ in range(3)]
    urgent = await people.open(priority="urgent")
    make_late(database_url, waiting, "first_reply_due")
    await people.reply(waiting, people.agent)
    make_late(database_url, unanswered, "resolve_due")
    await people.reply(solved, people.agent)
    for one in (solved, urgent):
        assert (await people.move(one, people.owner, "resolved")).status_code == 200
    path = f"/tickets/{solved['id']}/rating"
    assert (await people.client.put(path, json={"rating": 4}, headers=people.owner)).status_code == 200
    response = await written(people.client, PATH, people.agent, **period(solved), format="pdf")
    text, month = " ".join(text_of(response.content).split()), solved["created"][:7]

    assert f"{month} medium 3 2 1 1 1 4.00 {month} urgent 1 0 0 0 0 none" in text
    assert "In all Tickets Unsolved First reply late Solved late Rated Average 4 2 1 1 1 4.00" in text
    title = text.partition(" (UTC)")[0].replace("Tickets ", "Tickets, ", 1)
    assert archive_faults(response.content, title=title) == []


async def test_only_staff_start_and_download_reports(people: People) -> None:
    some = {"kind": "tickets", "month": "2024-01", "format": "csv"}
    report = await begun(people.client, PATH, people.agent, **some)
    file = await file_of(people.client, PATH, people.agent, report)
    narrow = bearer(token(AGENT, scope="support:read support:write"))

    assert rows_of(file.content) == []
    for who, status in ((people.owner, 403), (narrow, 403), ({}, 401)):
        assert (await people.client.post(PATH, json=some, headers=who)).status_code == status
        assert (await people.client.get(f"{PATH}/{report}/file", headers=who)).status_code == status
    assert (await people.client.get(f"{PATH}/{report}/file", headers=people.admin)).status_code == 200
    for who in (people.owner, people.other_agent):
        assert (await people.client.get(f"{PATH}/jobs/{report}", headers=who)).status_code == 404
    assert (await people.client.get(f"{PATH}/{new_id()}/file", headers=people.agent)).status_code == 404
    for wrong in ({"kind": "orders"}, {"month": "2024-13"}, {"months": 13}, {"format": "exe"}):
        refused = await people.client.post(PATH, json={**some, **wrong}, headers=people.agent)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, next(iter(wrong)))


async def test_report_of_a_deleted_account_is_gone(people: People, client: httpx.AsyncClient) -> None:
    some = {"kind": "tickets", "month": "2024-01", "format": "csv"}
    report = await begun(client, PATH, people.agent, **some)
    assert (await ended(client, PATH, people.agent, report))["state"] == "done"
    await delete_account(client, AGENT)

    assert (await client.get(f"{PATH}/{report}/file", headers=people.admin)).status_code == 404
