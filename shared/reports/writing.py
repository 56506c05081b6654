"""Writes a report: a job that reads its rows in portions, and that another replica can continue.

A file with rows grows by a part with each portion. A PDF has sums, which are kept in the job's cursor until
all rows have been added up.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from shared.data.database import Database
from shared.ids import first_id, moment_of
from shared.lists.spreadsheets import csv_lines
from shared.lists.workbooks import Workbook
from shared.pdf.renderer import Renderer
from shared.reports import source as sources
from shared.reports.files import Files
from shared.reports.schemas import ReportFormat, ReportInput
from shared.reports.source import Figures, Group, Heading, Portion, Source, added
from shared.work.jobs import CannotSucceed, Running

ROWS_MAX = 200_000
GROUPS_MAX = 400  # rows of a table in a PDF
TEMPLATES = Path(__file__).with_name("templates")
TEMPLATE = "report.typ"

Cursor = dict[str, Any]


class Writer:
    """Writes the reports of one service."""

    def __init__(
        self, database: Database, store: Files, by_kind: Mapping[str, Source], kept: timedelta
    ) -> None:
        self._database, self._files, self._sources, self._kept = database, store, by_kind, kept
        self._turn = asyncio.Lock()  # reports are rare, so one renderer, started when needed, is enough

    async def write(self, job: Running) -> Mapping[str, Any]:
        """Write the file of a report, and return what is known of it."""
        wanted = ReportInput.model_validate_json(job.input["wanted"])
        source = self._sources[wanted.kind]
        begin = first_id(wanted.begin)[:-1]  # sorts before every id of that moment
        end = first_id(min(wanted.end, moment_of(job.id)))
        if job.cursor is None:
            await self._begin(job, wanted, begin, end)
        while not job.cursor["is_read"]:
            some = await self._database.read(sources.portion, source, job.cursor["after"], end)
            await self._add(job, wanted, some)
        if wanted.format is ReportFormat.XLSX and not job.cursor["is_whole"]:
            book = Workbook(job.cursor["book"])
            await self._store(job, {**job.cursor, "is_whole": True}, book.end())
        if wanted.format is ReportFormat.PDF and not job.cursor["parts"]:
            document = document_of(source, wanted, job)
            async with self._turn, Renderer(TEMPLATES) as renderer:
                rendered = await renderer.render(TEMPLATE, document, moment_of(job.id))
            await self._store(job, {**job.cursor, "groups": []}, rendered.pdf)
        return {
            "name": wanted.file_name,
            "rows": job.cursor["rows"],
            "bytes": job.cursor["bytes"],
            "expires": (moment_of(job.id) + self._kept).isoformat(timespec="seconds").replace("+00:00", "Z"),
        }

    async def _begin(self, job: Running, wanted: ReportInput, begin: str, end: str) -> None:
        source = self._sources[wanted.kind]
        total = await self._database.read(sources.count, source, begin, end, ROWS_MAX + 1)
        if total > ROWS_MAX:
            raise CannotSucceed(f"It has more than {ROWS_MAX} rows. Choose fewer months.")
        first: Cursor = {"after": begin, "rows": 0, "bytes": 0, "parts": 0, "groups": [], "is_read": False}
        first |= {"book": [0, 0, 0], "is_whole": False}
        if wanted.format is ReportFormat.PDF:
            await job.do(lambda _: None, cursor=first, progress=0, total=total)
        else:
            await self._store(job, *_piece(wanted, first, [source.header]), total=total)

    async def _add(self, job: Running, wanted: ReportInput, some: Portion | None) -> None:
        """Add a portion to the file or the sums, in one step with the job's cursor."""
        at: Cursor = job.cursor
        if some is None:
            await job.do(lambda _: None, cursor={**at, "is_read": True})
            return
        cursor = {**at, "after": some.last, "rows": at["rows"] + len(some.cells)}
        if cursor["rows"] > ROWS_MAX:
            raise CannotSucceed(f"It has more than {ROWS_MAX} rows. Choose fewer months.")
        if wanted.format is not ReportFormat.PDF:
            await self._store(job, *_piece(wanted, cursor, some.cells))
            return
        groups = _with(at["groups"], some.sums)
        if len(groups) > GROUPS_MAX:
            raise CannotSucceed("It has too many groups for a PDF. Choose fewer months, or CSV.")
        await job.do(lambda _: None, cursor={**cursor, "groups": groups}, progress=cursor["rows"])

    async def _store(self, job: Running, cursor: Cursor, content: bytes, total: int | None = None) -> None:
        number = cursor["parts"]
        stored = {**cursor, "parts": number + 1, "bytes": cursor["bytes"] + len(content)}
        adding = partial(self._files.add_part, report_id=job.id, number=number, content=content)
        await job.do(adding, cursor=stored, progress=stored["rows"], total=total)


def _piece(wanted: ReportInput, cursor: Cursor, rows: Sequence[Sequence[Any]]) -> tuple[Cursor, bytes]:
    """Return some rows as the next piece of the file, and the cursor after it."""
    if wanted.format is ReportFormat.CSV:
        return cursor, csv_lines(rows)
    book = Workbook(cursor["book"])
    content = book.rows(rows)
    return {**cursor, "book": book.at}, content


def _groups_of(lines: Sequence[Sequence[Any]]) -> dict[Group, Figures]:
    """Read lines of a cursor: the texts are the group, the numbers its figures."""
    return {
        tuple(one for one in line if isinstance(one, str)): tuple(one for one in line if isinstance(one, int))
        for line in lines
    }


def _with(lines: Sequence[Sequence[Any]], sums: Mapping[Group, Figures]) -> list[list[Any]]:
    """Return the lines with these sums added, in the order of their groups."""
    found = _groups_of(lines)
    for group, figures in sums.items():
        found[group] = added(found.get(group), figures)
    return [[*group, *found[group]] for group in sorted(found)]


def document_of(source: Source, wanted: ReportInput, job: Running) -> dict[str, Any]:
    """Return the data of the PDF as its template wants it: texts."""
    groups, summary = _groups_of(job.cursor["groups"]), source.summary
    totals: dict[Group, Figures] = {}
    if summary.total_headings:
        for group, figures in groups.items():
            of = summary.total_of(group)
            totals[of] = added(totals.get(of), figures)
    last = wanted.end - timedelta(days=1)
    return {
        "title": source.title,
        "period": f"{wanted.begin:%B %Y}" + ("" if wanted.months == 1 else f" to {last:%B %Y}"),
        "made": f"{moment_of(job.id):%Y-%m-%d %H:%M} UTC",
        "is_running": moment_of(job.id) < wanted.end,
        "headings": _heads(summary.headings),
        "groups": [summary.shown(group, figures) for group, figures in groups.items()],
        "total_headings": _heads(summary.total_headings),
        "totals": [summary.total_shown(of, figures) for of, figures in sorted(totals.items())],
    }


def _heads(headings: Sequence[Heading]) -> list[dict[str, Any]]:
    return [one._asdict() for one in headings]
