"""Reports about costs and usage: what is in them, who gets them, and that they are exact."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from services.inventory.dated import dated_id, midnight
from services.inventory.models import COSTS, JOB_ROWS, USAGE_MONTHS, WORKSPACES
from shared.ids import new_id
from shared.reports import source
from shared.testing import bearer, token
from tests import lists
from tests.inventory.support import ADMIN, ADMIN_ID, USER, change
from tests.pdfs import archive_faults, text_of
from tests.reports import begun, ended, rows_of, written
from tests.shared.test_workbooks import read as workbook

PATH = "/reports/inventory"
PERIOD = {"month": "2024-01", "months": 3}
PART = 333_333_333_333  # of 10^12


def add_costs(database_url: str) -> None:
    """Add costs on the edges of the months, and just outside of them."""
    days = ("2023-12-31", "2024-01-01", "2024-01-31", "2024-02-01", "2024-03-31", "2024-04-01")
    rows = [
        {
            **lists._cost(0),
            "id": dated_id(midnight(date.fromisoformat(day)), [day, str(each)]),
            "day": day,
            "workspace_id": f"ws-{each}",
            "service": "Amazon WorkSpaces" if each % 2 else "AmazonCloudWatch",
            "amount_part": PART,
            "estimated": each == 3,
        }
        for day in days
        for each in range(4)
    ]
    change(database_url, insert(COSTS), rows)


def add_usage(database_url: str) -> None:
    months = ("2023-12", "2024-01", "2024-02", "2024-04")
    rows = [
        {
            **lists._usage(0),
            "id": dated_id(midnight(date.fromisoformat(f"{month}-01")), [f"ws-{each}"]),
            "month": month,
            "workspace_id": f"ws-{each}",
            "source": "bill" if each else "metrics",
            "hours": 84_500_000,
            "billed": 84_500_000 if each else None,
            "connected_minutes": 60,
        }
        for month in months
        for each in range(3)
    ]
    change(database_url, insert(USAGE_MONTHS), rows)
    known = {**lists._workspace(0), "workspace_id": "ws-1", "user_name": "ann", "running_mode": "AUTO_STOP"}
    change(database_url, insert(WORKSPACES), [known])


async def report(inventory: httpx.AsyncClient, kind: str, form: str) -> bytes:
    return (await written(inventory, PATH, ADMIN, kind=kind, format=form, **PERIOD)).content


def decimals(rows: Sequence[dict[str, str]], name: str) -> Decimal:
    return sum((Decimal(one[name]) for one in rows), Decimal(0))


async def test_costs_have_every_line_of_the_months_once_and_exact(
    inventory: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PORTION_ROWS", 5)
    add_costs(database_url)
    rows = rows_of(await report(inventory, "costs", "csv"))
    header, *cells = workbook(await report(inventory, "costs", "xlsx"))
    pdf = await report(inventory, "costs", "pdf")
    text = " ".join(text_of(pdf).split())

    days = [one["day"] for one in rows]
    assert days == sorted(days)
    assert {day: days.count(day) for day in days} == dict.fromkeys(
        ("2024-01-01", "2024-01-31", "2024-02-01", "2024-03-31"), 4
    )
    assert decimals(rows, "amount") == 16 * Decimal("1.333333333333")
    assert {one["estimated"] for one in rows} == {"Yes", "No"}
    assert {row[header.index("amount")] for row in cells} == {"n:1.333333333333"}
    assert header == list(rows[0])
    assert "2024-01 Amazon WorkSpaces 4 5.33 USD 2024-01 AmazonCloudWatch 4 5.33 USD" in text
    assert "In all Lines Amount Currency 16 21.33 USD" in text
    assert archive_faults(pdf, title="Costs, January 2024 to March 2024") == []


async def test_negative_amounts_are_numbers_and_no_formulas(
    inventory: httpx.AsyncClient, database_url: str
) -> None:
    day = date(2024, 1, 15)
    credit = {
        **lists._cost(0),
        "id": dated_id(midnight(day), ["credit"]),
        "day": day.isoformat(),
        "service": "-Refund",
        "amount_whole": -12,
        "amount_part": -340_000_000_000,
    }
    change(database_url, insert(COSTS), [credit])
    (row,) = rows_of(await report(inventory, "costs", "csv"))
    exported = await inventory.get("/billing/export", headers=USER)
    (line,) = rows_of(exported.content)
    names, cells = workbook((await inventory.get("/billing/export?format=xlsx", headers=USER)).content)

    assert (row["amount"], row["service"]) == (line["amount"], line["service"]) == ("-12.34", "'-Refund")
    assert cells[names.index("amount")] == "n:-12.34"


async def test_usage_has_the_hours_of_each_workspace_and_who_uses_it_now(
    inventory: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PORTION_ROWS", 2)
    add_usage(database_url)
    rows = rows_of(await report(inventory, "usage", "csv"))
    text = " ".join(text_of(await report(inventory, "usage", "pdf")).split())

    assert sorted((one["month"], one["workspace_id"]) for one in rows) == [
        (month, f"ws-{each}") for month in ("2024-01", "2024-02") for each in range(3)
    ]
    assert {(one["workspace_id"], one["user_name"], one["running_mode"]) for one in rows} == {
        ("ws-0", "", ""),
        ("ws-1", "ann", "AUTO_STOP"),
        ("ws-2", "", ""),
    }
    assert {(one["source"], one["hours"], one["billed_hours"]) for one in rows} == {
        ("metrics", "84.5", ""),
        ("bill", "84.5", "84.5"),
    }
    assert "2024-01 bill 2 169.0 2024-01 metrics 1 84.5 2024-02 bill 2 169.0" in text
    assert "In all Hours 507.0" in text


async def test_only_admins_have_reports_and_other_jobs_are_not_among_them(
    inventory: httpx.AsyncClient, database_url: str
) -> None:
    some: dict[str, Any] = {"kind": "costs", "format": "csv", **PERIOD}
    mine = await begun(inventory, PATH, ADMIN, **some)
    await ended(inventory, PATH, ADMIN, mine)
    sync = {**lists._report_job(0), "id": new_id(), "kind": "sync", "owner": ADMIN_ID}
    change(database_url, insert(JOB_ROWS), [sync])
    narrow = bearer(token(ADMIN_ID, role="admin", scope="inventory:read"))

    for who, status in ((USER, 403), ({}, 401), (narrow, 403)):
        assert (await inventory.post(PATH, json=some, headers=who)).status_code == status
        assert (await inventory.get(f"{PATH}/{mine}/file", headers=who)).status_code == status
    listed = (await inventory.get(f"{PATH}/jobs", headers=ADMIN)).json()
    assert [one["id"] for one in listed] == [mine]
    for path in (f"/jobs/{sync['id']}", f"/{sync['id']}/file", f"/jobs/{sync['id']}/progress"):
        assert (await inventory.get(PATH + path, headers=ADMIN)).status_code == 404
    cancelled = await inventory.post(f"{PATH}/jobs/{sync['id']}/cancel", headers=ADMIN)
    assert cancelled.status_code == 404
    for wrong in ({"kind": "orders"}, {"month": "2024-13"}, {"months": 0}, {"format": "exe"}):
        refused = await inventory.post(PATH, json={**some, **wrong}, headers=ADMIN)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, next(iter(wrong)))
