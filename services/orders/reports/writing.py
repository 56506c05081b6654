"""Writes a report: a job that reads its rows in portions, and that another replica can continue.

A file with rows grows by a part with each portion. A PDF has sums, which are kept in the job's cursor until
all rows have been added up.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from services.orders.invoices.layout import money
from services.orders.reports import files, sources
from services.orders.reports.schemas import ReportFormat, ReportKind, StartReport
from services.orders.reports.sources import SOURCES, Group, Portion
from shared.data.database import Database
from shared.ids import first_id, moment_of
from shared.lists.spreadsheets import csv_lines
from shared.lists.workbooks import Workbook
from shared.pdf.renderer import Renderer
from shared.work.jobs import CannotSucceed, Running

KIND = "report"
ROWS_MAX = 200_000
GROUPS_MAX = 400  # rows of a table in a PDF
TEMPLATE = "report-1.typ"
TITLES = {ReportKind.ORDERS: "Orders", ReportKind.INVOICES: "Invoices and credit notes"}

Cursor = dict[str, Any]


async def write(database: Database, renderer: Renderer, kept: timedelta, job: Running) -> Mapping[str, Any]:
    """Write the file of a report, and return what is known of it."""
    wanted = StartReport.model_validate_json(job.input["wanted"])
    begin = first_id(wanted.begin)[:-1]  # sorts before every id of that moment
    end = first_id(min(wanted.end, moment_of(job.id)))
    if job.cursor is None:
        await _begin(database, job, wanted, begin, end)
    while not job.cursor["is_read"]:
        some = await database.read(sources.portion, wanted.kind, job.cursor["after"], end)
        await _add(job, wanted, some)
    if wanted.format is ReportFormat.XLSX and not job.cursor["is_whole"]:
        book = Workbook(job.cursor["book"])
        await _store(job, {**job.cursor, "is_whole": True}, book.end())
    if wanted.format is ReportFormat.PDF and not job.cursor["parts"]:
        rendered = await renderer.render(TEMPLATE, _document(wanted, job), moment_of(job.id))
        await _store(job, {**job.cursor, "groups": []}, rendered.pdf)
    return {
        "name": wanted.file_name,
        "rows": job.cursor["rows"],
        "bytes": job.cursor["bytes"],
        "expires": (moment_of(job.id) + kept).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }


async def _begin(database: Database, job: Running, wanted: StartReport, begin: str, end: str) -> None:
    total = await database.read(sources.count, wanted.kind, begin, end, ROWS_MAX + 1)
    if total > ROWS_MAX:
        raise CannotSucceed(f"It has more than {ROWS_MAX} rows. Choose fewer months.")
    first: Cursor = {"after": begin, "rows": 0, "bytes": 0, "parts": 0, "groups": [], "is_read": False}
    first |= {"book": [0, 0, 0], "is_whole": False}
    if wanted.format is ReportFormat.PDF:
        await job.do(lambda _: None, cursor=first, progress=0, total=total)
    else:
        await _store(job, *_piece(wanted, first, [SOURCES[wanted.kind].header]), total=total)


async def _add(job: Running, wanted: StartReport, some: Portion | None) -> None:
    """Add a portion to the file or the sums, in one step with the job's cursor."""
    at: Cursor = job.cursor
    if some is None:
        await job.do(lambda _: None, cursor={**at, "is_read": True})
        return
    cursor = {**at, "after": some.last, "rows": at["rows"] + len(some.cells)}
    if cursor["rows"] > ROWS_MAX:
        raise CannotSucceed(f"It has more than {ROWS_MAX} rows. Choose fewer months.")
    if wanted.format is not ReportFormat.PDF:
        await _store(job, *_piece(wanted, cursor, some.cells))
        return
    groups = _added(at["groups"], some.sums)
    if len(groups) > GROUPS_MAX:
        raise CannotSucceed("It has too many currencies for a PDF. Choose fewer months, or CSV.")
    await job.do(lambda _: None, cursor={**cursor, "groups": groups}, progress=cursor["rows"])


def _piece(wanted: StartReport, cursor: Cursor, rows: Sequence[Sequence[Any]]) -> tuple[Cursor, bytes]:
    """Return some rows as the next piece of the file, and the cursor after it."""
    if wanted.format is ReportFormat.CSV:
        return cursor, csv_lines([_csv_cell(one) for one in row] for row in rows)
    book = Workbook(cursor["book"])
    content = book.rows(rows)
    return {**cursor, "book": book.at}, content


def _csv_cell(value: Any) -> Any:
    return f"{value:f}" if isinstance(value, Decimal) else value


async def _store(job: Running, cursor: Cursor, content: bytes, total: int | None = None) -> None:
    number = cursor["parts"]
    stored = {**cursor, "parts": number + 1, "bytes": cursor["bytes"] + len(content)}
    adding = partial(files.add_part, report_id=job.id, number=number, content=content)
    await job.do(adding, cursor=stored, progress=stored["rows"], total=total)


def _added(groups: Sequence[Sequence[Any]], sums: Mapping[Group, tuple[int, int]]) -> list[list[Any]]:
    """Return the groups with these sums added, in the order of month, state and currency."""
    found = {(month, state, currency): (number, minor) for month, state, currency, number, minor in groups}
    for group, (number, minor) in sums.items():
        before = found.get(group, (0, 0))
        found[group] = before[0] + number, before[1] + minor
    return [[*group, *found[group]] for group in sorted(found)]


def _document(wanted: StartReport, job: Running) -> dict[str, Any]:
    groups: list[list[Any]] = job.cursor["groups"]
    totals: dict[str, tuple[int, int]] = {}
    for _, _, currency, number, minor in groups:
        before = totals.get(currency, (0, 0))
        totals[currency] = before[0] + number, before[1] + minor
    last = wanted.end - timedelta(days=1)
    is_running = moment_of(job.id) < wanted.end
    return {
        "title": TITLES[wanted.kind],
        "period": f"{wanted.begin:%B %Y}" + ("" if wanted.months == 1 else f" to {last:%B %Y}"),
        "made": f"{moment_of(job.id):%Y-%m-%d %H:%M} UTC",
        "is_running": is_running,
        "state": "Status" if wanted.kind is ReportKind.ORDERS else "Kind",
        "groups": [
            [month, state.replace("_", " "), f"{number:,}", money(minor, currency), currency]
            for month, state, currency, number, minor in groups
        ],
        # Invoices and what credits them must not be added up as if both were income.
        "totals": []
        if wanted.kind is ReportKind.INVOICES
        else [
            [f"{number:,}", money(minor, currency), currency]
            for currency, (number, minor) in sorted(totals.items())
        ],
    }
