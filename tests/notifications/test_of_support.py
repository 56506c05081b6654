"""Who is notified of tickets and reviews, in the app and by mail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from contracts.events import AccountChanged, AccountDeleted
from contracts.support import (
    ReviewModerated,
    StaffChanged,
    TicketChanged,
    TicketOpened,
    TicketOverdue,
    TicketReplied,
    TicketState,
)
from services.notifications.app import create_app
from services.notifications.settings import Settings
from shared.clock import now
from shared.events.event import Sealed
from shared.ids import new_id
from shared.testing import bearer, running, token
from tests.notifications.support import ADMIN, MOMENT, account, tell, tell_bodies

SECONDS = 60
Told = TypeVar("Told", bound=TicketState)
TICKET_URL = "https://help.example.com/tickets/{ticket_id}"


@pytest.fixture
async def client(
    make_settings: Callable[..., Any], database_url: str, auth_url: str, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    made = make_settings(
        Settings,
        database_url=database_url,
        auth_url=auth_url,
        ticket_url=TICKET_URL,
        data_dir=tmp_path,
        mail_transport="file",
    )
    async with running(create_app, made) as client:
        yield client


class Desk:
    """A ticket's owner, an admin, and a member of staff who is not an admin, all with confirmed addresses."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.owner, self.admin, self.agent = new_id(), new_id(), new_id()
        self.ticket = new_id()

    async def hire(self) -> None:
        await tell(
            self.client,
            account(self.owner, email_verified=True),
            account(self.admin, role="admin", email_verified=True),
            account(self.agent, email_verified=True),
        )
        await tell(self.client, StaffChanged(user_id=self.agent, is_staff=True))

    def event(self, kind: type[Told], **fields: Any) -> Told:
        state = {
            "ticket_id": self.ticket,
            "number": "2026-000042",
            "user_id": self.owner,
            "status": "open",
            "priority": "high",
            "assigned_to": None,
            "updated": MOMENT,
        }
        return kind.model_validate({**state, **fields})

    def replied(self, author: str, *, by_staff: bool, **fields: Any) -> TicketReplied:
        ids = {"reply_id": new_id(), "author_id": author, "by_staff": by_staff}
        return self.event(TicketReplied, **{**ids, "status_before": "open", **fields})

    async def titles(self, user_id: str) -> list[str]:
        """Return the titles of someone's notifications, oldest first."""
        found = await self.client.get("/notifications", headers=bearer(token(user_id)))
        return [one["title"] for one in reversed(found.json())]

    async def mails(self, user_id: str, number: int) -> list[dict[str, Any]]:
        """Wait until all mails of an account have ended, and return them."""
        async with asyncio.timeout(SECONDS):
            while True:
                listed = await self.client.get(f"/notifications/deliveries?user_id={user_id}", headers=ADMIN)
                found: list[dict[str, Any]] = listed.json()
                if len(found) == number and all(one["finished"] for one in found):
                    return found
                await asyncio.sleep(0.02)


@pytest.fixture
async def desk(client: httpx.AsyncClient) -> Desk:
    desk = Desk(client)
    await desk.hire()
    return desk


async def test_all_active_staff_but_not_the_owner_are_notified_of_a_new_ticket(desk: Desk) -> None:
    former, suspended, newer = new_id(), new_id(), new_id()
    await tell(desk.client, account(former), account(suspended), account(new_id()))
    for one in (former, suspended, newer):  # the service knows no account of the last one yet
        await tell(desk.client, StaffChanged(user_id=one, is_staff=True))
    await tell(desk.client, StaffChanged(user_id=former, is_staff=False))
    await tell(desk.client, account(suspended, AccountChanged, status="suspended"))
    await tell(desk.client, desk.event(TicketOpened))
    of_staff = desk.event(TicketOpened, user_id=desk.agent, number="2026-000043")
    await tell(desk.client, of_staff)

    assert await desk.titles(desk.admin) == ["New ticket 2026-000042", "New ticket 2026-000043"]
    assert await desk.titles(desk.agent) == ["New ticket 2026-000042"]
    assert len(await desk.titles(newer)) == 2
    for other in (desk.owner, former, suspended):
        assert await desk.titles(other) == []


async def test_only_the_owner_is_notified_of_a_reply_of_staff(desk: Desk) -> None:
    await tell(desk.client, desk.replied(desk.agent, by_staff=True, assigned_to=desk.admin, status="waiting"))

    assert await desk.titles(desk.owner) == ["Support replied to your ticket 2026-000042"]
    assert await desk.titles(desk.agent) == await desk.titles(desk.admin) == []


async def test_assigned_person_or_else_all_staff_are_notified_of_a_reply_of_the_owner(desk: Desk) -> None:
    await tell(desk.client, desk.replied(desk.owner, by_staff=False, assigned_to=desk.agent))
    assert await desk.titles(desk.agent) == ["New reply to ticket 2026-000042"]
    assert await desk.titles(desk.admin) == []

    await tell(desk.client, StaffChanged(user_id=desk.agent, is_staff=False))
    await tell(desk.client, desk.replied(desk.owner, by_staff=False, assigned_to=desk.agent))
    assert len(await desk.titles(desk.agent)) == 1, "former staff are not notified"
    assert await desk.titles(desk.admin) == ["New reply to ticket 2026-000042"]
    assert await desk.titles(desk.owner) == []


async def test_staff_that_owns_a_ticket_hears_of_answers_but_not_of_what_it_does_itself(desk: Desk) -> None:
    mine = {"user_id": desk.agent, "assigned_to": desk.agent}
    await tell(desk.client, desk.replied(desk.agent, by_staff=True, **mine))
    await tell(desk.client, desk.replied(desk.agent, by_staff=False, **mine))
    step = {"status_before": "open", "status": "resolved", "by": desk.agent}
    await tell(desk.client, desk.event(TicketChanged, **mine, **step))
    assert await desk.titles(desk.agent) == []

    await tell(desk.client, desk.replied(desk.admin, by_staff=True, **mine))
    assert len(await desk.titles(desk.agent)) == 1


async def test_owner_hears_of_steps_of_staff_but_not_of_other_changes(desk: Desk) -> None:
    def step(before: str, after: str, by: str) -> TicketChanged:
        return desk.event(TicketChanged, status_before=before, status=after, by=by)

    await tell(
        desk.client, step("open", "in_progress", desk.agent), step("in_progress", "waiting", desk.agent)
    )
    await tell(desk.client, step("waiting", "waiting", desk.agent))  # it was assigned to somebody
    await tell(desk.client, step("waiting", "resolved", desk.agent), step("resolved", "closed", desk.owner))
    assert await desk.titles(desk.owner) == [
        "Your ticket 2026-000042 is being worked on",
        "Your ticket 2026-000042 waits for you",
        "Your ticket 2026-000042 was resolved",
    ]
    assert await desk.titles(desk.admin) == []

    await tell(desk.client, step("closed", "open", desk.owner))
    assert await desk.titles(desk.admin) == ["Ticket 2026-000042 was opened again"]
    assert len(await desk.titles(desk.owner)) == 3


async def test_staff_are_notified_of_an_overdue_ticket(desk: Desk) -> None:
    await tell(desk.client, desk.event(TicketOverdue, due="first_reply"))
    await tell(desk.client, desk.event(TicketOverdue, due="resolve", assigned_to=desk.agent))

    assert await desk.titles(desk.admin) == ["Ticket 2026-000042 is overdue"]
    assert await desk.titles(desk.agent) == ["Ticket 2026-000042 is overdue"] * 2
    assert await desk.titles(desk.owner) == []


async def test_author_hears_of_decisions_of_others_about_a_review(desk: Desk) -> None:
    def decided(status: str, by: str | None) -> ReviewModerated:
        return ReviewModerated(
            review_id=new_id(),
            user_id=desk.owner,
            resource_type="product",
            resource_id="Laptop",
            rating=4,
            status=status,
            updated=MOMENT,
            status_before="pending",
            by=by,
        )

    for status, by in (("approved", desk.admin), ("hidden", None), ("rejected", desk.admin)):
        await tell(desk.client, decided(status, by))
    await tell(desk.client, decided("approved", desk.owner))
    shown = await desk.client.get("/notifications", headers=bearer(token(desk.owner)))

    assert [(one["title"], one["severity"]) for one in reversed(shown.json())] == [
        ("Your review was published", "success"),
        ("Your review was hidden", "warning"),
        ("Your review was rejected", "warning"),
    ]
    assert "People have reported it" in shown.json()[1]["content"]


async def test_same_event_twice_is_one_mail_which_links_to_the_ticket(desk: Desk, tmp_path: Path) -> None:
    body = Sealed("support", desk.replied(desk.agent, by_staff=True)).body
    await tell_bodies(desk.client, "support", f"{body},{body}")
    await tell_bodies(desk.client, "support", body)
    (mail,) = await desk.mails(desk.owner, 1)
    (file,) = (tmp_path / "mail").glob(f"{mail['id']}-*.eml")

    assert (mail["state"], mail["template"]) == ("sent", "ticket")
    text = file.read_text()
    assert "Subject: Support replied to your ticket 2026-000042" in text
    assert TICKET_URL.format(ticket_id=desk.ticket) in text.splitlines()
    assert f"token={desk.owner}.ticket.replied." in text


async def test_deleted_account_hears_nothing_and_is_staff_no_longer(desk: Desk) -> None:
    for gone in (desk.owner, desk.agent):
        await tell(desk.client, AccountDeleted(account_id=gone, deleted=now()))
    await tell(desk.client, StaffChanged(user_id=desk.agent, is_staff=True))  # it was delayed
    await tell(desk.client, desk.event(TicketOpened), desk.replied(desk.admin, by_staff=True))
    await tell(desk.client, desk.replied(desk.owner, by_staff=False, assigned_to=desk.agent))

    for gone in (desk.owner, desk.agent):
        assert await desk.titles(gone) == []
        assert await desk.mails(gone, 0) == []
    assert len(await desk.mails(desk.admin, 2)) == 2


async def test_staff_can_switch_off_mails_about_tickets(desk: Desk) -> None:
    off = {"choices": [{"type": "ticket.opened", "channel": "email", "on": False}]}
    changed = await desk.client.put("/notifications/preferences", json=off, headers=bearer(token(desk.agent)))
    assert changed.status_code == 200
    await tell(desk.client, desk.event(TicketOpened))

    assert len(await desk.mails(desk.admin, 1)) == 1
    assert await desk.mails(desk.agent, 0) == []
    assert len(await desk.titles(desk.agent)) == 1


@pytest.mark.parametrize(
    "url", ["tickets/{ticket_id}", "https://example.com/tickets", "https://a b/{ticket_id}"]
)
def test_address_of_tickets_must_be_a_url_with_the_id(make_settings: Callable[..., Any], url: str) -> None:
    with pytest.raises(ValueError, match="ticket_id"):
        make_settings(Settings, ticket_url=url)
