"""Imports of products: every row has its own verdict, and nothing is half done."""

import csv
import io
from typing import Any

import httpx
import pytest

from services.orders.products import importing
from services.orders.products.importing import read_rows
from shared.errors import Invalid
from shared.testing import bearer, token
from tests.orders.support import ADMIN, add_product

CSV = ADMIN | {"Content-Type": "text/csv; charset=utf-8"}


async def send(orders: httpx.AsyncClient, content: str | bytes, *, dry_run: bool = False) -> httpx.Response:
    return await orders.post(f"/products/import?dry_run={dry_run}".lower(), content=content, headers=CSV)


def csv_of(*rows: tuple[Any, ...]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def counts(response: httpx.Response) -> tuple[int, ...]:
    assert response.status_code == 200, response.text
    found = response.json()
    return tuple(found[name] for name in ("rows", "created", "changed", "unchanged", "invalid"))


def faults(text: str) -> list[tuple[int, str, str]]:
    return [(one.row, one.field, one.code) for row in read_rows(text) for one in row.faults]


async def test_import_adds_and_changes_products_and_a_repeated_one_changes_nothing(
    orders: httpx.AsyncClient,
) -> None:
    known = await add_product(orders, name="Old name", price=5, description="kept")
    file = csv_of(
        ("sku", "name", "price", "currency", "tax_rate", "status", "low_at", "description"),
        (known["sku"], "New name", "9.99", "", "24", "active", "3", ""),
        ("NEW-1", 'Läptop, 14"', "999.99", "EUR", "", "active", "", "two\nlines"),
    )

    assert counts(await send(orders, file, dry_run=True)) == (2, 1, 1, 0, 0)
    assert len((await orders.get("/products", headers=ADMIN)).json()) == 1
    assert counts(await send(orders, file)) == (2, 1, 1, 0, 0)
    assert counts(await send(orders, file)) == (2, 0, 0, 2, 0)
    new, changed = (await orders.get("/products", headers=ADMIN)).json()
    assert (new["name"], new["price"], new["currency"], new["available"]) == ('Läptop, 14"', 999.99, "EUR", 0)
    assert (new["description"], new["tax_rate"]) == ("two\nlines", 0)
    assert (changed["name"], changed["price"], changed["description"]) == ("New name", 9.99, "kept")
    assert (changed["tax_rate"], changed["low"], changed["version"]) == (24, True, 2)


async def test_rows_with_faults_are_reported_and_the_others_are_stored(orders: httpx.AsyncClient) -> None:
    yen = await add_product(orders, currency="JPY", price=100)
    file = csv_of(
        ("sku", "name", "price"),
        ("A", "Apple", "1.50"),
        ("B", "=HYPERLINK(1)", "2"),
        ("C", "Cherry", "cheap"),
        ("A", "Another apple", "1"),
        ("D", "Date"),
        (yen["sku"], "Yen", "1.50"),
        ("E", "Elder", "2.50"),
    )
    response = await send(orders, file)

    assert counts(response) == (7, 2, 0, 0, 5)
    assert [(one["row"], one["field"], one["code"]) for one in response.json()["faults"]] == [
        (3, "name", "formula"),
        (4, "price", "decimal_parsing"),
        (5, "sku", "repeated"),
        (6, "row", "cells"),
        (7, "price", "value_error"),
    ]
    listed = (await orders.get("/products", headers=ADMIN)).json()
    assert [one["sku"] for one in listed] == ["E", "A", yen["sku"]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sku,name,price\nA,x,1\n\nB,@x,1\n", [(4, "name", "formula")]),
        ("sku;name;price\r\nA;x;1\r\nB;x\r\n", [(3, "row", "cells")]),
        ("sku,name,price\nA,+x,-1\n", [(2, "name", "formula"), (2, "price", "formula")]),
        ('sku,name,price\nA,"two\nlines",1\nB,"x"y,1\nC,x,1\n', [(4, "row", "broken")]),
        ('sku,name,price\nA,x,1\nB,"x,1\nC,x,1\n', [(3, "row", "broken")]),
        (f"sku,name,price\nA,{'x' * 200_000},1\nB,x,1\n", [(2, "row", "broken")]),
        (f"sku,name,price\nA,{'x' * 201},1\n", [(2, "name", "too_long")]),
        ("sku,name,price\n,x,1\n", [(2, "sku", "missing")]),
        ("sku,name,price,currency\nA,x,1.5,JPY\n", [(2, "price", "value_error")]),
        ("sku,name,price,status\nA,x,1,sold\n", [(2, "status", "enum")]),
        ("sku,name,price\nA,x\x00y,1\n", [(2, "name", "value_error")]),
        ("SKU, Name ,PRICE\nA,x,1\n", []),
        ("sku,name,price\n", []),
    ],
)
def test_every_fault_is_reported_with_its_row(text: str, found: list[tuple[int, str, str]]) -> None:
    assert faults(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "\n", "sku,name\n", "sku,name,price,price\n", "sku,name,price,secret\n", 'sku,"name,price\n', "{}"],
)
def test_file_without_a_usable_header_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        [*read_rows(text)]


async def test_file_that_cannot_be_imported_at_all_changes_nothing(
    catalogue: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "ROWS_MAX", 2)
    monkeypatch.setattr(importing, "BATCH_ROWS", 1)
    header = "sku,name,price\n"
    many = await send(catalogue, header + "A,x,1\nB,x,1\nC,x,1\n")
    assert (many.status_code, many.json()["code"], many.json()["rows_max"]) == (413, "too_many_rows", 2)
    large = await send(catalogue, header + "A,x,1\n" + "x" * (4 * 1024 * 1024))
    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
    foreign = await send(catalogue, header.encode() + b"A,\xff,1\n")
    assert foreign.status_code == 422
    as_json = await catalogue.post("/products/import", json=[], headers=ADMIN)
    assert as_json.status_code == 415
    user = CSV | bearer(token())
    assert (await catalogue.post("/products/import", content=header, headers=user)).status_code == 403
    assert (await catalogue.get("/products", headers=ADMIN)).json() == []
    two = await send(catalogue, header + "A,x,1\nB,x,1\n")
    assert counts(two) == (2, 2, 0, 0, 0)
