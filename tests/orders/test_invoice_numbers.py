"""Numbers of invoices have no gaps and no doubles: under races, failures and kills, and over the years."""

import asyncio
import random
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import select
from sqlmodel import Session

from services.orders import events
from services.orders.errors import OrderNotBillable
from services.orders.invoices import issuing, numbers
from services.orders.models import INVOICES, InvoiceKind
from services.orders.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.errors import Unavailable
from shared.ids import first_id, new_id
from shared.testing import bearer, token
from tests import databases
from tests.orders.replicas import Request, Shop
from tests.orders.support import ADMIN, step

LAPTOP = {"product_name": "Laptop", "quantity": 1, "total_price": 100}
WRITERS, TAKEN_EACH = 8, 25
ISSUED = 120


def issued_numbers(database_url: str, kind: InvoiceKind = InvoiceKind.INVOICE) -> list[int]:
    """Return the last parts of all numbers, in the order of their ids, which is that of their dates."""
    with (
        closing(Database(database_url, pool_size=1)) as database,
        database.transaction(write=False) as session,
    ):
        rows = session.connection().execute(
            select(INVOICES.c.number).where(INVOICES.c.kind == kind).order_by(INVOICES.c.id)
        )
        return [int(number.rpartition("-")[2]) for (number,) in rows]


def fail_if(is_failing: bool) -> None:
    if is_failing:
        raise OrderNotBillable


async def confirmed(orders: httpx.AsyncClient) -> str:
    order: str = (await orders.post("/orders", json=LAPTOP, headers=ADMIN)).json()["id"]
    await step(orders, order, "confirmed")
    return order


@pytest.fixture
def database(database_url: str) -> Database:
    databases.migrate(database_url, Settings.migrations())
    return Database(database_url, pool_size=WRITERS)


async def test_invoices_issued_at_once_have_consecutive_numbers(
    orders: httpx.AsyncClient, database_url: str
) -> None:
    placed = [await confirmed(orders) for _ in range(20)]
    # Each twice: of two requests for one order, one is refused and takes no number.
    issued = await asyncio.gather(
        *[orders.post(f"/orders/{order}/invoice", headers=ADMIN) for order in placed + placed]
    )

    assert sorted(one.status_code for one in issued) == [201] * 20 + [409] * 20
    assert issued_numbers(database_url) == list(range(1, 21))


async def test_failure_after_taking_a_number_gives_it_back(
    orders: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell, chance = events.tell_issued, random.Random(1)

    def fail_sometimes(session: Session, invoice: dict[str, object]) -> None:
        tell(session, invoice)
        session.flush()
        if chance.random() < 0.5:
            raise OrderNotBillable

    monkeypatch.setattr(issuing, "tell_issued", fail_sometimes)
    placed = [await confirmed(orders) for _ in range(20)]
    issued = await asyncio.gather(
        *[orders.post(f"/orders/{order}/invoice", headers=ADMIN) for order in placed]
    )
    successes = sum(one.status_code == 201 for one in issued)

    assert 0 < successes < 20
    assert issued_numbers(database_url) == list(range(1, successes + 1))


def test_many_writers_that_sometimes_roll_back_take_consecutive_numbers(
    database: Database, database_url: str
) -> None:
    """Each thread has its own connections, as a process of its own would."""
    taken, failures = list[numbers.Taken](), list[BaseException]()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with closing(Database(database_url, pool_size=1)) as own:
            for _ in range(TAKEN_EACH):
                try:
                    with own.transaction() as session:
                        one = numbers.take(session, InvoiceKind.CREDIT_NOTE)
                        fail_if(chance.random() < 0.3)
                    taken.append(one)
                except OrderNotBillable:
                    pass
                except BaseException as error:
                    failures.append(error)
                    raise

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(WRITERS)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()

    assert failures == []
    assert 0 < len(taken) < WRITERS * TAKEN_EACH
    in_order = sorted(taken, key=lambda one: one.number)
    assert [int(one.number[-6:]) for one in in_order] == list(range(1, len(taken) + 1))
    assert [one.issued for one in in_order] == sorted(one.issued for one in taken)
    database.close()


class TestYears:
    @pytest.fixture
    def take_at(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[datetime], numbers.Taken]:
        def take(moment: datetime) -> numbers.Taken:
            monkeypatch.setattr(numbers, "new_id", lambda: first_id(moment))
            monkeypatch.setattr(numbers, "clock", lambda _: moment)
            with database.transaction() as session:
                return numbers.take(session, InvoiceKind.INVOICE)

        return take

    def test_each_year_counts_from_one_in_utc(
        self, take_at: Callable[[datetime], numbers.Taken], database: Database
    ) -> None:
        moments = [
            datetime(2026, 12, 31, 23, 59, 58, tzinfo=UTC),
            datetime(2026, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
            datetime(2027, 1, 1, tzinfo=UTC),
            datetime(2029, 5, 1, tzinfo=UTC),
        ]
        taken = [take_at(moment) for moment in moments]

        names = ["INV-2026-000001", "INV-2026-000002", "INV-2027-000001", "INV-2029-000001"]
        assert [one.number for one in taken] == names
        assert [one.issued for one in taken] == moments
        database.close()

    def test_clock_that_is_a_year_behind_takes_no_number(
        self, take_at: Callable[[datetime], numbers.Taken], database: Database
    ) -> None:
        take_at(datetime(2027, 1, 1, tzinfo=UTC))
        with pytest.raises(Unavailable):
            take_at(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC))

        assert take_at(datetime(2027, 1, 1, 1, tzinfo=UTC)).number == "INV-2027-000002"
        database.close()

    def test_clock_that_is_a_year_ahead_begins_no_year(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If an invoice got a number of next year, no other could get one until then."""

        def take() -> numbers.Taken:
            with database.transaction() as session:
                return numbers.take(session, InvoiceKind.INVOICE)

        first = take()
        with monkeypatch.context() as ahead:
            ahead.setattr(numbers, "new_id", lambda: first_id(now() + timedelta(days=366)))
            with pytest.raises(Unavailable):
                take()

        assert (int(first.number[-6:]), int(take().number[-6:])) == (1, 2)
        database.close()

    def test_invoices_and_credit_notes_are_counted_apart(self, database: Database) -> None:
        with database.transaction() as session:
            taken = [numbers.take(session, kind) for kind in (*InvoiceKind, *InvoiceKind)]

        assert [one.number[:3] + one.number[-6:] for one in taken] == [
            "INV000001",
            "CRN000001",
            "INV000002",
            "CRN000002",
        ]
        database.close()


@pytest.mark.prove
async def test_numbers_have_no_gaps_and_no_doubles_while_replicas_are_killed(
    shop: Shop, database_url: str
) -> None:
    steady, mortal = shop.replicas
    steady.start()
    async with httpx.AsyncClient(base_url=steady.url, timeout=30) as client:
        placed = [await confirmed(client) for _ in range(ISSUED)]
    requests: list[Request] = [
        ("POST", f"/orders/{order}/invoice", None, ADMIN | {"Idempotency-Key": new_id()}) for order in placed
    ]
    answers: list[httpx.Response] = []
    for dies_at in ("emit: before", "emit: after"):
        # It dies within the first invoice it issues: the number is taken and nothing is committed.
        await asyncio.to_thread(mortal.start, dies_at)
        answers += await shop.all_of(requests[len(answers) :][: ISSUED // 4])
        await asyncio.to_thread(mortal.wait_until_killed)
    await asyncio.to_thread(mortal.start)
    killing = asyncio.to_thread(shop.kill_when_more, steady, INVOICES, shop.number_of(INVOICES))
    more, _ = await asyncio.gather(shop.all_of(requests[len(answers) :]), killing)
    answers += more

    assert shop.repeated >= 2
    assert [one.status_code for one in answers] == [201] * ISSUED
    assert sorted(int(one.json()["number"][-6:]) for one in answers) == list(range(1, ISSUED + 1))
    assert sorted(issued_numbers(database_url)) == list(range(1, ISSUED + 1))
    assert (await shop.all_of([("GET", "/invoices?limit=1", None, bearer(token()))]))[0].json() == []
