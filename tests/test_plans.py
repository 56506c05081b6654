"""Query plans: the cost of a page does not grow with the table, whatever the filters and the caller."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from contracts import summaries
from shared.data import statements
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.lists import numbered, pagination
from tests import lists, support
from tests.lists import LISTS, Question
from tests.plans import STEPS, Watched, nodes_of, rows_read

ROWS = {"sqlite": 10_000, "postgresql": 20_000}  # PostgreSQL reads smaller tables as a whole
DEEP = 2_500  # the row after which a deep page begins
WINDOW_ROWS = 60  # more than a page, and far fewer than all rows, as in production
SUMMARY_STEPS_MAX = 2_000
STEPS_MAX = 20_000  # of SQLite's virtual machine; reading all rows takes at least four times as many
ROWS_READ_MAX = 1_500

every_service = pytest.mark.parametrize("service", LISTS)


@pytest.fixture(autouse=True)
def small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "WINDOW_ROWS", WINDOW_ROWS)
    monkeypatch.setattr(numbered, "ROWS_MAX", WINDOW_ROWS)


def fill(service: str, url: str) -> None:
    upgrade(url, Path("services", service, "migrations"))
    lists.fill(service, url, ROWS["sqlite" if url.startswith("sqlite") else "postgresql"])


@pytest.fixture(scope="module")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The filled database of a service, created once and then copied."""

    @cache
    def made(service: str) -> Path:
        file = tmp_path_factory.mktemp(service) / "lists.db"
        fill(service, f"sqlite:///{file}")
        return file

    return made


def forget_statistics(database: Database) -> None:
    with database.transaction() as session:
        session.connection().exec_driver_sql("DELETE FROM sqlite_stat1")
    database.engine.dispose()  # connections read the statistics when they open


def asked(service: str) -> list[Question]:
    first = [one for operation in lists.lists_of(service) for one in lists.questions(service, operation)]
    deep = lists.cursor_at(lists.row_id(DEEP))
    return [*first, *(one.on_page_after(deep) for one in first if one.is_paged)]


def faults_on_sqlite(database: Database, watched: Watched, question: Question) -> list[str]:
    with database.transaction(write=False) as session:
        driver: Any = session.connection().connection.driver_connection
        driver.set_progress_handler(watched.step, STEPS)
        watched.forget()
        question.ask(session)
        driver.set_progress_handler(None, 0)
        seen, steps = watched.statements, watched.steps
        plans = [
            (statement, driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall())
            for statement, parameters in seen
        ]
        partial = _partial_indexes(driver)
    faults = [
        fault
        for statement, plan in plans
        for fault in _bad_lines(statement, [row[3] for row in plan], partial)
        if question.is_paged or "TEMP B-TREE" not in fault  # lists that are not paged are short
    ]
    if bool(seen) == question.asks_nothing:
        faults.append("no statement was recorded")
    if steps > STEPS_MAX:
        faults.append(f"{steps} steps")
    return [f"{question}: {fault}" for fault in faults]


def _bad_lines(statement: str, plan: list[str], partial: set[str]) -> Iterator[str]:
    for line in plan:
        scanned = re.match(
            r"SCAN (?!anon_)\w+(?: USING (?:COVERING )?INDEX (\w+))?", line
        )  # a scan of a table
        by_text = re.search(r"VIRTUAL TABLE INDEX \d+:.*M", line)
        # A scan along an index reads only the first rows if there is no condition or the index has it.
        if scanned and not by_text and scanned[1] not in partial and ("WHERE" in statement or not scanned[1]):
            yield line
        # A sort needs a LIMIT inside it.
        if "TEMP B-TREE" in line and statement.count("LIMIT") < 2:
            yield line


def _partial_indexes(driver: Any) -> set[str]:
    found = driver.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'")
    return {name for (name,) in found}


def faults_on_postgresql(database: Database, watched: Watched, question: Question) -> list[str]:
    with database.transaction(write=False) as session:
        watched.forget()
        question.ask(session)
        seen = watched.statements
        cursor: Any = session.connection().connection.cursor()
        faults: list[str] = [] if bool(seen) != question.asks_nothing else ["no statement was recorded"]
        for statement, parameters in seen:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            faults += _bad_nodes(cursor.fetchone()[0][0]["Plan"])
    return [f"{question}: {fault}" for fault in faults]


def _bad_nodes(root: dict[str, Any]) -> Iterator[str]:
    if (read := rows_read(root)) > ROWS_READ_MAX:
        yield f"{read} rows read by {[node['Node Type'] for node in nodes_of(root)]}"


@every_service
@pytest.mark.parametrize(
    "is_analysed",
    [pytest.param(True, id="analysed", marks=pytest.mark.prove), pytest.param(False, id="not analysed")],
)
def test_every_page_and_summary_is_read_from_an_index_on_sqlite(
    service: str,
    sqlite_file: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_analysed: bool,
) -> None:
    file = shutil.copy(sqlite_file(service), tmp_path)
    with closing(Database(f"sqlite:///{file}")) as database:
        if not is_analysed:  # like every new database
            forget_statistics(database)
        watched = Watched(database.engine)
        monkeypatch.setattr(statements, "execute_in_driver", watched.in_driver)

        faults = [fault for one in asked(service) for fault in faults_on_sqlite(database, watched, one)]
        monkeypatch.setattr(summaries, "COUNTED_MAX", lists.FEW)
        faults += [
            fault for one in summaries_of(service) for fault in _summary_faults(database, watched, one)
        ]
        assert faults == []


def _summary_faults(database: Database, watched: Watched, question: Question) -> Iterator[str]:
    """Yield a fault unless there is one statement only, which reads hardly more rows than it counts."""
    with database.transaction(write=False) as session:
        driver: Any = session.connection().connection.driver_connection
        driver.set_progress_handler(watched.step, STEPS)
        watched.forget()
        question.ask(session)
        driver.set_progress_handler(None, 0)
    if len(watched.statements) != 1:
        yield f"{question}: {len(watched.statements)} statements"
    if watched.steps > SUMMARY_STEPS_MAX:
        yield f"{question}: {watched.steps} steps"


@pytest.mark.prove
@every_service
def test_every_page_and_summary_reads_few_rows_on_postgresql(
    service: str, postgresql_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with support.new_database(postgresql_server, f"plans_{service}") as url:
        fill(service, url)
        with closing(Database(url)) as database:
            watched = Watched(database.engine)
            monkeypatch.setattr(statements, "execute_in_driver", watched.in_driver)

            questions = asked(service)
            faults = [fault for one in questions for fault in faults_on_postgresql(database, watched, one)]
            monkeypatch.setattr(summaries, "COUNTED_MAX", lists.FEW)
            questions = summaries_of(service)
            faults += [fault for one in questions for fault in faults_on_postgresql(database, watched, one)]
            assert faults == []


def test_lists_have_a_rare_and_a_common_value_for_every_filter() -> None:
    lacking = [
        f"{service} {operation.path}: {name}"
        for service in lists.SERVICES
        for operation in lists.lists_of(service)
        for name in lists.filters_of(operation)
        if service not in LISTS or len(LISTS[service].values.get(name, ())) < 2
    ]
    assert lacking == []


def summaries_of(service: str) -> list[Question]:
    """Return the dashboard's questions: about a person with half of the rows, and about everybody."""
    found = [one for one in lists.operations_of(service) if one.path == summaries.SUMMARY]
    about: list[dict[str, str]] = [{"user_id": lists.LARGE}, {"all": "true"}]
    return [Question(one, {}, query, "admin", {}) for one in found for query in about]


SUMMARISED = [service for service in LISTS if summaries_of(service)]


def test_services_of_the_dashboard_are_found() -> None:
    expected = {"orders", "files", "support", "notifications", "inventory", "terminal", "audit"}
    assert set(SUMMARISED) >= expected & set(LISTS)
