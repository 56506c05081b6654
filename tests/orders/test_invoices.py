"""Invoices and credit notes: who gets which, what they state, and when they are refused."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from contracts.events import AccountDeleted
from services.orders.app import create_app
from services.orders.invoices.media import prefers_json
from services.orders.models import EVENTS, INVOICES, LINES, ORDERS
from services.orders.settings import Settings
from shared.clock import now
from shared.data.bulk import insert_rows
from shared.data.database import Database
from shared.events.event import Sealed
from shared.ids import new_id
from shared.testing import bearer, internal_token, running, token
from tests.orders.support import ADMIN, add_product, buy, step
from tests.told import records, told

BUYER = {"name": "Ann Example", "address": "2 Example Road\n20000 Example Town", "tax_id": "EX-1"}
SELLER = {"SELLER_NAME": "A Company", "SELLER_ADDRESS": "1 Street | City", "SELLER_TAX_ID": "T-1"}
JSON = {"Accept": "application/json"}
LAPTOP = {"product_name": "Laptop", "quantity": 3, "total_price": 100}


async def confirmed(orders: httpx.AsyncClient, who: dict[str, str], *steps: str) -> str:
    """Place an order in the simple form, and take it through these steps after its confirmation."""
    order: str = (await orders.post("/orders", json=LAPTOP, headers=who)).json()["id"]
    await step(orders, order, "confirmed", *steps)
    return order


async def issue(
    orders: httpx.AsyncClient, order: str, who: dict[str, str], kind: str = "invoice", **body: Any
) -> httpx.Response:
    return await orders.post(f"/orders/{order}/{kind}", json=body or None, headers=who)


async def shown(orders: httpx.AsyncClient, order: str, who: dict[str, str], kind: str = "invoice") -> Any:
    response = await orders.get(f"/orders/{order}/{kind}", headers=who | JSON)
    assert response.status_code == 200, response.text
    return response.json()


def add_lines(database_url: str, order: str, number: int) -> None:
    """Give an order more lines than can be ordered at once."""
    line = {"order_id": order, "product_id": new_id(), "sku": "SKU", "name": "Pen", "quantity": 2}
    sums = {"unit_minor": 100, "tax_basis_points": 2400, "tax_minor": 48, "total_minor": 248}
    rows = [{"id": new_id(), "line": one, **line, **sums} for one in range(1, number + 1)]
    with closing(Database(database_url, pool_size=1)) as database, database.transaction() as session:
        insert_rows(session, LINES, rows)
        session.connection().execute(update(ORDERS).where(ORDERS.c.id == order).values(line_count=number))


class TestIssue:
    async def test_owner_gets_the_invoice_of_a_confirmed_order(self, orders: httpx.AsyncClient) -> None:
        me = new_id()
        lamp = await add_product(orders, 9, name="Lamp", price=10.25, tax_rate=24)
        book = await add_product(orders, 9, name="Book", price=20, tax_rate=10)
        order = (await buy(orders, bearer(token(me)), (lamp, 2), (book, 1))).json()["id"]
        await step(orders, order, "confirmed")
        response = await issue(orders, order, bearer(token(me)), buyer=BUYER)
        invoice = response.json()

        assert (response.status_code, response.headers["location"]) == (201, f"/orders/{order}/invoice")
        assert invoice == await shown(orders, order, bearer(token(me)))
        assert (
            invoice.items() >= {"order_id": order, "user_id": me, "kind": "invoice", "buyer": BUYER}.items()
        )
        assert invoice["number"] == f"INV-{invoice['issued'][:4]}-000001"
        assert (invoice["net"], invoice["tax"], invoice["total"]) == (40.5, 6.92, 47.42)
        assert invoice["taxes"] == [
            {"tax_rate": 10, "net": 20, "tax": 2},
            {"tax_rate": 24, "net": 20.5, "tax": 4.92},
        ]
        assert invoice["lines"][0] == {
            "name": "Lamp",
            "sku": lamp["sku"],
            "quantity": 2,
            "unit_price": 10.25,
            "tax_rate": 24,
            "net": 20.5,
            "tax": 4.92,
            "total": 25.42,
        }

    async def test_invoice_of_an_order_without_lines_has_one_line(self, orders: httpx.AsyncClient) -> None:
        me = bearer(token())
        invoice = (await issue(orders, await confirmed(orders, me), me)).json()

        assert invoice["buyer"]["name"] == f"Account {invoice['user_id']}"
        assert [(one["name"], one["quantity"], one["total"]) for one in invoice["lines"]] == [
            ("Laptop", 3, 100)
        ]
        assert invoice["lines"][0]["unit_price"] is None  # a third of 100 is not exact

    async def test_admin_issues_the_invoice_of_another_account(self, orders: httpx.AsyncClient) -> None:
        me = new_id()
        order = await confirmed(orders, bearer(token(me)))
        response = await issue(orders, order, ADMIN)

        assert (response.status_code, response.json()["user_id"]) == (201, me)

    async def test_limited_token_needs_its_scope(self, orders: httpx.AsyncClient) -> None:
        me = new_id()
        order = await confirmed(orders, bearer(token(me)))
        reader = bearer(token(me, scope="orders:read"))

        assert (await issue(orders, order, reader)).json()["code"] == "insufficient_scope"
        assert (await issue(orders, order, bearer(token(me, scope="orders:write")))).status_code == 201
        assert (await orders.get("/invoices", headers=reader)).status_code == 200

    async def test_same_idempotency_key_issues_one_invoice(self, orders: httpx.AsyncClient) -> None:
        me = bearer(token()) | {"Idempotency-Key": "one"}
        order = await confirmed(orders, bearer(me["Authorization"].removeprefix("Bearer ")))
        first, second = await issue(orders, order, me), await issue(orders, order, me)

        assert (first.status_code, second.status_code) == (201, 201)
        assert first.content == second.content

    async def test_second_invoice_of_an_order_is_refused(self, orders: httpx.AsyncClient) -> None:
        me = bearer(token())
        order = await confirmed(orders, me)
        number = (await issue(orders, order, me)).json()["number"]
        response = await issue(orders, order, me)

        assert (response.status_code, response.json()["code"]) == (409, "already_invoiced")
        assert response.json()["number"] == number

    @pytest.mark.parametrize(
        ("steps", "code"),
        [((), "order_not_confirmed"), (("cancelled",), "order_not_billable")],
    )
    @pytest.mark.parametrize("is_admin", [False, True])
    async def test_order_that_is_not_confirmed_is_refused(
        self, orders: httpx.AsyncClient, steps: tuple[str, ...], code: str, is_admin: bool
    ) -> None:
        me = bearer(token())
        order = (await orders.post("/orders", json=LAPTOP, headers=me)).json()["id"]
        if steps:
            await step(orders, order, *steps)
        response = await issue(orders, order, ADMIN if is_admin else me)

        assert (response.status_code, response.json()["code"]) == (409, code)

    @pytest.mark.parametrize("steps", [("shipped",), ("shipped", "delivered")])
    async def test_later_steps_are_invoiced_as_well(
        self, orders: httpx.AsyncClient, steps: tuple[str, ...]
    ) -> None:
        me = bearer(token())

        assert (await issue(orders, await confirmed(orders, me, *steps), me)).status_code == 201

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"buyer": {"address": "x"}}, "buyer.name"),
            ({"buyer": {"name": " "}}, "buyer.name"),
            ({"buyer": {"name": "x" * 201}}, "buyer.name"),
            ({"buyer": {"name": "x", "address": "x" * 501}}, "buyer.address"),
            ({"buyer": {"name": "x", "tax_id": "x" * 41}}, "buyer.tax_id"),
            ({"seller": {}}, "seller"),
        ],
    )
    async def test_invalid_buyer_is_refused(
        self, catalogue: httpx.AsyncClient, body: dict[str, Any], field: str
    ) -> None:
        response = await issue(catalogue, new_id(), ADMIN, **body)

        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)

    async def test_event_names_the_invoice_but_not_the_buyer(
        self, orders_with_listener: httpx.AsyncClient, database_url: str
    ) -> None:
        me = new_id()
        order = await confirmed(orders_with_listener, bearer(token(me)))
        invoice = (await issue(orders_with_listener, order, bearer(token(me)), buyer=BUYER)).json()
        (event,) = [one for one in told(database_url, EVENTS) if one.topic == "invoice.issued"]

        assert event.data.pop("issued")[:19] == invoice["issued"][:19]
        assert event.data == {
            "invoice_id": invoice["id"],
            "order_id": order,
            "user_id": me,
            "kind": "invoice",
            "number": invoice["number"],
            "total_minor": 10000,
            "currency": "USD",
        }

    async def test_issue_is_recorded_with_its_number(
        self, orders: httpx.AsyncClient, database_url: str
    ) -> None:
        me = bearer(token())
        number = (await issue(orders, await confirmed(orders, me), me)).json()["number"]
        record = records(database_url, EVENTS)[-1]

        assert (record["action"], record["metadata"]) == ("ISSUE_INVOICE", {"number": number})


class TestCreditNote:
    @pytest.mark.parametrize("steps", [("cancelled",), ("shipped", "delivered", "returned")])
    async def test_cancelled_or_returned_order_is_credited_as_it_was_invoiced(
        self, orders: httpx.AsyncClient, steps: tuple[str, ...]
    ) -> None:
        me = bearer(token())
        order = await confirmed(orders, me)
        invoice = (await issue(orders, order, me, buyer=BUYER)).json()
        await step(orders, order, *steps)
        response = await issue(orders, order, me, "credit-note")
        note = response.json()

        assert (response.status_code, response.headers["location"]) == (201, f"/orders/{order}/credit-note")
        assert note == await shown(orders, order, me, "credit-note")
        assert note["number"] == f"CRN-{note['issued'][:4]}-000001"
        assert (note["kind"], note["corrects"]) == ("credit_note", invoice["number"])
        assert all(note[name] == invoice[name] for name in ("seller", "buyer", "lines", "taxes", "total"))
        assert (await issue(orders, order, me, "credit-note")).json()["code"] == "already_invoiced"

    async def test_order_without_invoice_is_not_credited(self, orders: httpx.AsyncClient) -> None:
        me = bearer(token())
        response = await issue(orders, await confirmed(orders, me, "cancelled"), me, "credit-note")

        assert (response.status_code, response.json()["code"]) == (409, "not_invoiced")

    async def test_order_that_is_still_valid_is_not_credited(self, orders: httpx.AsyncClient) -> None:
        me = bearer(token())
        order = await confirmed(orders, me)
        await issue(orders, order, me)
        response = await issue(orders, order, me, "credit-note")

        assert (response.status_code, response.json()["code"]) == (409, "order_not_cancelled")

    async def test_returned_order_without_invoice_is_not_invoiced_any_more(
        self, orders: httpx.AsyncClient
    ) -> None:
        me = bearer(token())
        order = await confirmed(orders, me, "shipped", "delivered", "returned")

        assert (await issue(orders, order, me)).json()["code"] == "order_not_billable"


class TestOthers:
    @pytest.mark.parametrize("kind", ["invoice", "credit-note"])
    async def test_documents_of_others_are_not_found(self, orders: httpx.AsyncClient, kind: str) -> None:
        me, stranger = bearer(token()), bearer(token())
        order = await confirmed(orders, me)
        await issue(orders, order, me)
        await step(orders, order, "cancelled")

        assert (await issue(orders, order, stranger, kind)).status_code == 404
        assert (await issue(orders, order, ADMIN, "credit-note")).status_code == 201
        assert (await orders.get(f"/orders/{order}/{kind}", headers=stranger)).status_code == 404
        assert (await orders.get(f"/orders/{new_id()}/{kind}", headers=me)).status_code == 404
        assert (await orders.get(f"/orders/{order}/{kind}", headers=ADMIN | JSON)).status_code == 200

    async def test_order_with_an_invoice_cannot_be_deleted(self, orders: httpx.AsyncClient) -> None:
        me = bearer(token())
        order = await confirmed(orders, me)
        await issue(orders, order, me)
        await step(orders, order, "cancelled")
        response = await orders.delete(f"/orders/{order}", headers=me)

        assert (response.status_code, response.json()["code"]) == (409, "order_invoiced")
        assert (await orders.get(f"/orders/{order}", headers=me)).status_code == 200

    async def test_database_keeps_an_order_with_an_invoice(
        self, orders: httpx.AsyncClient, database_url: str
    ) -> None:
        """A replica of an older version does not ask for invoices before it deletes."""
        me = bearer(token())
        order = await confirmed(orders, me)
        await issue(orders, order, me)
        await step(orders, order, "cancelled")
        with (
            closing(Database(database_url, pool_size=1)) as database,
            pytest.raises(IntegrityError),
            database.transaction() as session,
        ):
            session.connection().execute(delete(ORDERS).where(ORDERS.c.id == order))

        assert (await issue(orders, order, me, "credit-note")).status_code == 201

    async def test_invoice_stays_when_its_account_is_deleted(
        self, orders: httpx.AsyncClient, database_url: str
    ) -> None:
        me = new_id()
        order = await confirmed(orders, bearer(token(me)))
        invoice = (await issue(orders, order, bearer(token(me)), buyer=BUYER)).json()
        deleted = Sealed("auth", AccountDeleted(account_id=me, deleted=now())).body
        headers = bearer(internal_token("orders", issuer="auth")) | {"Content-Type": "application/json"}
        sent = await orders.post("/internal/events", content=f'{{"events":[{deleted}]}}', headers=headers)

        assert sent.status_code == 204, sent.text
        assert await shown(orders, order, ADMIN) == invoice


class TestList:
    async def test_owner_sees_own_and_admin_all(self, orders: httpx.AsyncClient) -> None:
        me, other = new_id(), new_id()
        mine = await confirmed(orders, bearer(token(me)))
        theirs = await confirmed(orders, bearer(token(other)))
        for order in (mine, theirs):
            await issue(orders, order, ADMIN)
        await step(orders, mine, "cancelled")
        await issue(orders, mine, ADMIN, "credit-note")

        async def listed(who: dict[str, str], **query: Any) -> list[tuple[str, str]]:
            response = await orders.get("/invoices", params=query, headers=who)
            assert response.status_code == 200, response.text
            return [(one["order_id"], one["kind"]) for one in response.json()]

        credited, billed, foreign = (mine, "credit_note"), (mine, "invoice"), (theirs, "invoice")
        year = int((await shown(orders, mine, ADMIN))["issued"][:4])
        assert await listed(bearer(token(me))) == [credited, billed]
        assert await listed(bearer(token(me)), kind="invoice") == [billed]
        assert await listed(ADMIN) == [credited, foreign, billed]
        assert await listed(ADMIN, kind="invoice") == [foreign, billed]
        assert await listed(ADMIN, user_id=other) == [foreign]
        assert await listed(ADMIN, user_id=me, kind="credit_note") == [credited]
        assert await listed(ADMIN, year=year) == [credited, foreign, billed]
        assert await listed(ADMIN, year=year - 1) == await listed(ADMIN, year=year + 1) == []
        assert await listed(bearer(token(me)), year=year, kind="credit_note") == [credited]
        refused = await orders.get("/invoices", params={"user_id": other}, headers=bearer(token(me)))
        assert refused.status_code == 404

    async def test_pages_continue_at_the_cursor(self, orders: httpx.AsyncClient) -> None:
        me = bearer(token())
        for _ in range(3):
            await issue(orders, await confirmed(orders, me), me)
        first = await orders.get("/invoices", params={"limit": 2}, headers=me)
        following = first.headers["link"].partition("<")[2].partition(">")[0]
        rest = await orders.get(f"/invoices{following}", headers=me)

        assert [one["number"][-1] for one in first.json() + rest.json()] == ["3", "2", "1"]


class TestSeller:
    async def start(self, make_settings: Callable[..., Any], **values: Any) -> Any:
        return running(
            create_app, make_settings(Settings, **{key.lower(): one for key, one in values.items()})
        )

    async def test_settings_name_the_seller(self, make_settings: Callable[..., Any]) -> None:
        me = bearer(token())
        async with await self.start(make_settings, **SELLER) as orders:
            invoice = (await issue(orders, await confirmed(orders, me), me)).json()

        assert invoice["seller"] == {"name": "A Company", "address": "1 Street\nCity", "tax_id": "T-1"}

    async def test_production_refuses_without_a_seller(self, make_settings: Callable[..., Any]) -> None:
        me = bearer(token())
        production = make_settings(Settings).model_copy(update={"environment": "production"})
        async with running(create_app, production) as orders:
            response = await issue(orders, await confirmed(orders, me), me)

            assert (response.status_code, response.json()["code"]) == (409, "seller_not_set")
            assert "SELLER_NAME" in response.json()["detail"]

    async def test_order_in_another_currency_than_the_seller_s_is_refused(
        self, make_settings: Callable[..., Any]
    ) -> None:
        me = bearer(token())
        async with await self.start(make_settings, seller_currency="EUR") as orders:
            response = await issue(orders, await confirmed(orders, me), me)

            assert (response.status_code, response.json()["code"]) == (409, "other_currency")
            assert response.json()["currency"] == "EUR"

    @pytest.mark.parametrize(
        ("name", "value"), [("seller_currency", "euro"), ("pdf_fonts", "/none"), ("seller_name", "x" * 201)]
    )
    def test_invalid_settings_are_refused(
        self, make_settings: Callable[..., Any], name: str, value: str
    ) -> None:
        with pytest.raises(ValueError, match=name):
            make_settings(Settings, **{name: value})


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("", False),
        ("*/*", False),
        ("application/pdf", False),
        ("application/json", True),
        ("APPLICATION/JSON", True),
        ("application/json, text/plain, */*", True),
        ("application/json;q=0.5, application/pdf", False),
        ("application/json, application/pdf;q=0.5", True),
        ("application/pdf, application/json", False),
        ("application/*", False),
        ("text/html, */*;q=0.8", False),
        ("application/json;q=0", False),
        ("application/json;q=nonsense", True),
    ],
)
def test_accept_chooses_between_pdf_and_json(accept: str, is_json: bool) -> None:
    assert prefers_json(accept) is is_json


async def test_what_was_issued_never_changes(orders: httpx.AsyncClient, database_url: str) -> None:
    """The product and the order change afterwards; the invoice does not."""
    me = bearer(token())
    product = await add_product(orders, 5, name="Lamp", price=10)
    order = (await buy(orders, me, (product, 1))).json()["id"]
    await step(orders, order, "confirmed")
    invoice = (await issue(orders, order, me)).json()
    await orders.put(f"/products/{product['id']}", json={"name": "Torch", "price": 99}, headers=ADMIN)
    await step(orders, order, "shipped", "delivered", "returned")

    assert await shown(orders, order, me) == invoice
    with closing(Database(database_url, pool_size=1)) as database, database.transaction() as session:
        assert len(session.connection().execute(select(INVOICES.c.id)).all()) == 1


async def test_notifications_service_reads_the_pdf_of_an_invoice_and_nobody_else_does(
    orders: httpx.AsyncClient,
) -> None:
    me = bearer(token())
    order = await confirmed(orders, me)
    invoice = (await issue(orders, order, me)).json()["id"]
    path = f"/internal/invoices/{invoice}/pdf"
    service = bearer(internal_token("orders", issuer="notifications"))
    sent = await orders.get(path, headers=service)
    shown = await orders.get(f"/orders/{order}/invoice", headers=me)
    unknown = await orders.get(f"/internal/invoices/{new_id()}/pdf", headers=service)

    assert (sent.status_code, sent.headers["content-type"]) == (200, "application/pdf")
    assert sent.content == shown.content
    assert unknown.status_code == 404
    assert [(await orders.get(path, headers=who)).status_code for who in ({}, me, ADMIN)] == [401, 401, 401]
