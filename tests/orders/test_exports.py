"""The part of the orders service in an export: complete, in portions, and of one person only."""

import json
from typing import Any

import httpx
import pytest

import contracts.exports
from contracts.events import ExportContinued, ExportPart, ExportRequested
from contracts.exports import PIECE_CHARACTERS, _first_lines, _pieces
from services.orders.models import EVENTS
from shared.events.event import EVENT_BYTES_MAX, Sealed
from shared.ids import new_id
from shared.testing import bearer, internal_token, token
from tests.told import told

LAPTOP = {"product_name": 'Läptop "7"', "quantity": 1, "total_price": 999.99}


async def deliver(orders: httpx.AsyncClient, body: str, source: str) -> None:
    headers = bearer(internal_token("orders", issuer=source)) | {"Content-Type": "application/json"}
    response = await orders.post("/internal/events", content=f'{{"events":[{body}]}}', headers=headers)
    assert response.status_code == 204


async def export(orders: httpx.AsyncClient, database_url: str, account_id: str) -> list[dict[str, Any]]:
    """Request the part, and deliver the events that the service sends to itself until it is complete."""
    await deliver(
        orders, Sealed("auth", ExportRequested(export_id=new_id(), account_id=account_id)).body, "auth"
    )
    done: set[str] = set()
    while waiting := [
        one for one in told(database_url, EVENTS) if one.topic == "export.continued" and one.id not in done
    ]:
        for one in waiting:
            done.add(one.id)
            await deliver(orders, one.model_dump_json(), "orders")
    return [one.data for one in told(database_url, EVENTS) if one.topic == "export.part"]


def lines(parts: list[dict[str, Any]], section: str) -> list[dict[str, Any]]:
    text = "".join(one["content"] for one in parts if one["section"] == section)
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("portion", [1, 2, 500])
async def test_orders_and_history_of_one_person_are_complete(
    orders: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch, portion: int
) -> None:
    monkeypatch.setattr(contracts.exports, "PORTION_ROWS", portion)
    me = new_id()
    placed = [(await orders.post("/orders", json=LAPTOP, headers=bearer(token(me)))).json() for _ in range(4)]
    await orders.put(
        f"/orders/{placed[0]['id']}", json={"status": "confirmed"}, headers=bearer(token(me, role="admin"))
    )
    await orders.post("/orders", json=LAPTOP, headers=bearer(token()))
    parts = await export(orders, database_url, me)

    assert [one["id"] for one in lines(parts, "orders")] == [one["id"] for one in placed]
    assert lines(parts, "orders")[0]["product_name"] == LAPTOP["product_name"]
    assert [one["status"] for one in lines(parts, "order_history")].count("confirmed") == 1
    assert [one["number"] for one in parts] == list(range(len(parts)))
    assert [one["is_last"] for one in parts] == [False] * (len(parts) - 1) + [True]
    assert {one["service"] for one in parts} == {"orders"}


async def test_account_without_orders_gets_an_empty_part(
    orders: httpx.AsyncClient, database_url: str
) -> None:
    (part,) = await export(orders, database_url, new_id())

    assert (part["is_last"], part["content"]) == (True, "")


async def test_a_section_that_is_too_long_is_cut_and_says_so(
    orders: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts.exports, "PORTION_ROWS", 1)
    monkeypatch.setattr(contracts.exports, "SECTION_ROWS_MAX", 2)
    me = new_id()
    for _ in range(3):
        await orders.post("/orders", json=LAPTOP, headers=bearer(token(me)))
    parts = await export(orders, database_url, me)

    assert len(lines(parts, "orders")) == 2
    assert [one["section"] for one in parts if one["is_cut"]] == ["orders", "order_history"]
    assert parts[-1]["is_last"]


async def test_portion_and_section_are_bounded_by_their_bytes(
    orders: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts.exports, "PORTION_BYTES", 1000)
    monkeypatch.setattr(contracts.exports, "SECTION_BYTES_MAX", 2500)
    me, long = new_id(), {**LAPTOP, "product_name": "ä" * 200}  # more than 400 bytes of JSON
    for _ in range(9):
        assert (await orders.post("/orders", json=long, headers=bearer(token(me)))).status_code == 201
    parts = await export(orders, database_url, me)
    portions = [one.data for one in told(database_url, EVENTS) if one.topic == "export.continued"]
    of_orders = [(one["sent"], one["sent_bytes"]) for one in portions if one["section"] == 0]
    content = "".join(one["content"] for one in parts if one["section"] == "orders")
    lengths = [len(line.encode()) for line in content.splitlines(keepends=True)]

    assert 500 < min(lengths) <= max(lengths) < 1000, "two rows use up a portion"
    assert of_orders == [(2, sum(lengths[:2]))]
    assert len(lengths) == 4, "the second portion ends the section"
    assert "orders" in [one["section"] for one in parts if one["is_cut"]]
    assert parts[-1]["is_last"]


def test_continuation_that_counts_no_bytes_is_read() -> None:
    older = {"service": "orders", "export_id": new_id(), "account_id": new_id(), "section": 0}
    event = ExportContinued.model_validate({**older, "after": None, "number": 3, "sent": 500})

    assert event.sent_bytes == 0


async def test_the_portions_of_other_services_are_not_ours(
    orders: httpx.AsyncClient, database_url: str
) -> None:
    other = ExportContinued(
        service="files", export_id=new_id(), account_id=new_id(), section=0, after=None, number=0, sent=0
    )
    await deliver(orders, Sealed("files", other).body, "files")

    assert [one for one in told(database_url, EVENTS) if one.topic.startswith("export.")] == []


@pytest.mark.parametrize("text", ["\U0001f600", '"\\', "\x01", "a"])
def test_a_piece_fits_an_event_whatever_it_says(text: str) -> None:
    rows = [("1", {"text": text * PIECE_CHARACTERS})]
    pieces = list(_pieces(_first_lines(rows, 1)[0]))

    assert json.loads("".join(pieces)) == rows[0][1]
    for piece in pieces:
        part = ExportPart(service="orders", export_id=new_id(), number=10**6, section="x" * 50, content=piece)
        assert len(Sealed("orders", part).body.encode()) <= EVENT_BYTES_MAX
