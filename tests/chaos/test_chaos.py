"""A minute of `make chaos`, and that its reconciliation finds what it is there for."""

import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, LiteralString

import pytest

from tests import support
from tests.chaos import reconciliation
from tests.chaos.people import Acknowledged, People
from tests.chaos.scene import DATABASES
from tests.suite.conftest import ROOT

Rows = Mapping[str, Sequence[tuple[object, ...]]]
SECONDS = support.length(60)


@pytest.mark.prove
@pytest.mark.long(1.5)
@pytest.mark.timeout(900)
@pytest.mark.parametrize("database", DATABASES)
def test_nothing_is_lost_or_doubled_by_a_minute_of_faults(database: str) -> None:
    command = [sys.executable, "-m", "tests.chaos", "--length", f"{SECONDS:g}s", "--database", database]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "reconciliation found nothing" in done.stdout


class Told(reconciliation.Ledger):
    """A ledger whose rows the test chooses, by a part of the statement."""

    def __init__(self, rows: Rows) -> None:
        super().__init__({})
        self._rows = rows

    def rows(self, service: str, statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        return next(([*rows] for part, rows in self._rows.items() if part in statement), [])


def people_who_ordered(*ids: str) -> People:
    people = People.__new__(People)
    people.acknowledged = Acknowledged(orders={f"key of {one}": (one, 2) for one in ids})
    return people


def test_reconciliation_finds_lost_doubled_and_incomplete_orders() -> None:
    people = people_who_ordered("a", "b", "c")
    whole: Rows = {
        "SELECT id FROM orders": [("a",), ("b",), ("c",)],
        "order_steps": [("a", 1), ("b", 1), ("c", 1)],
    }
    broken: Rows = {"SELECT id FROM orders": [("a",), ("b",), ("x",)], "order_steps": [("a", 1), ("b", 2)]}

    assert [*reconciliation._orders(Told(whole), people)] == []
    assert [*reconciliation._orders(Told(broken), people)] == [
        "1 orders lost: c",
        "1 orders placed twice: x",
        "2 orders without exactly one step: b (2), x (0)",
    ]


def test_reconciliation_finds_stock_and_records_that_differ() -> None:
    people = people_who_ordered("a", "b")
    stock = {"order_lines": [(4,)], "stock_levels": [(4,)], "stock_moves": [(6,)]}
    records: Rows = {"resource": [("a", 2)], "HAVING": [("r",)]}

    assert [*reconciliation._stock(Told({**stock, "stock_moves": [(4,)]}), people, "p")] == []
    assert len([*reconciliation._stock(Told(stock), people, "p")]) == 1
    assert [*reconciliation._records(Told(records), people)] == [
        "2 PLACE_ORDER without exactly one record: a (2), b (0)",
        "1 records stored twice: r",
    ]
    assert [*reconciliation._notifications(Told({"SELECT data": [('{"order_id":"a"}', 1)]}), people)] == [
        "1 orders without exactly one notification: b (0)"
    ]


def test_ledger_reads_the_files_of_a_suite_on_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "orders.db"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(
            "CREATE TABLE orders (id TEXT, pieces INTEGER); INSERT INTO orders VALUES ('a', 3)"
        )
    ledger = reconciliation.Ledger({"orders": f"sqlite:///{file}"})

    assert ledger.rows("orders", "SELECT id, pieces FROM orders WHERE id = %s", "a") == [("a", 3)]
    assert ledger.number("orders", "SELECT count(*) FROM orders WHERE id = %s", "b") == 0
