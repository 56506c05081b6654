"""A service's data moves between SQLite and PostgreSQL: equal afterwards, or nothing was changed."""

import asyncio
import importlib
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlmodel import Session

from gatehouse import cli
from gatehouse.move import NotMoved
from gatehouse.move.moving import Move
from gatehouse.move.postgresql import Postgresql
from gatehouse.move.progress import Progress
from gatehouse.move.sqlite import Sqlite
from services.audit.settings import Settings as AuditSettings
from shared.data import pausing
from shared.data.database import Database, Paused
from shared.data.migrate import MoveUnfinished, upgrade_apart
from shared.ids import new_id
from tests import databases, stalls, support
from tests.audit.support import TEST_KEY_SECRET, Log
from tests.gatehouse.random_rows import fill, fill_log

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ["audit", "auth", "files", "inventory", "notifications", "orders", "support", "terminal", "users"]
MakeDatabase = Callable[[], str]


def migrations(service: str) -> Path:
    return ROOT / "services" / service / "migrations"


def filled(service: str, file: Path, rows: int = 40, seed: int = 15) -> str:
    """Make a SQLite database of a service with random rows; return its URL."""
    url = f"sqlite:///{file}"
    databases.migrate(url, migrations(service))
    counts = fill(file, importlib.import_module(f"services.{service}.models").Table.metadata, seed, rows)
    assert min(counts.values()) > 0, counts
    return url


def silent(what: str, total: int, done: int) -> Progress:
    return Progress(what, total, done, io.StringIO())


def move(service: str, source: str, target: str, said: list[str] | None = None) -> Move:
    say = (said if said is not None else []).append
    return Move(service, source, target, migrations(service), say, silent)


def dump(file: Path) -> dict[str, list[Any]]:
    """Return everything in a SQLite file but its search indexes."""
    connection = sqlite3.connect(file)
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    found = {
        name: sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr)
        for (name,) in names
        if "_search" not in name and not name.startswith("sqlite_")
    }
    connection.close()
    return found


@pytest.fixture
def make_database(postgresql_server: str) -> Iterator[MakeDatabase]:
    """Create empty PostgreSQL databases."""
    opened = []

    def make() -> str:
        opened.append(support.new_database(postgresql_server, f"move_{new_id()}"))
        return opened[-1].__enter__()

    yield make
    for database in opened:
        database.__exit__(None, None, None)


@pytest.mark.parametrize("service", SERVICES)
def test_a_round_trip_through_postgresql_changes_nothing(
    service: str, tmp_path: Path, make_database: MakeDatabase
) -> None:
    before, middle, after = tmp_path / "before.db", make_database(), tmp_path / "after.db"
    there = move(service, filled(service, before), middle).run()
    back = move(service, middle, f"sqlite:///{after}").run()
    assert there == back
    assert all(one.is_equal for one in there)
    assert dump(before) == dump(after)
    assert sum(one.rows for one in there) > 100


def test_numbers_go_on_after_the_last_one(tmp_path: Path, make_database: MakeDatabase) -> None:
    source, target = filled("orders", tmp_path / "orders.db"), make_database()
    move("orders", source, target).run()
    with sqlite3.connect(tmp_path / "orders.db") as file, psycopg.connect(target) as server:
        (last,) = file.execute("SELECT max(seq) FROM outbox").fetchone()
        columns = "subscriber, key, body, created, attempts"
        insert = f"INSERT INTO outbox ({columns}) VALUES ('a', 'a', '{{}}', now(), 0) RETURNING seq"
        row = server.execute(insert.encode()).fetchone()
    assert row == (last + 1,)


def test_rows_are_found_by_their_text_after_a_move_to_sqlite(
    tmp_path: Path, make_database: MakeDatabase
) -> None:
    middle, file = make_database(), tmp_path / "after.db"
    move("orders", filled("orders", tmp_path / "orders.db"), middle).run()
    move("orders", middle, f"sqlite:///{file}").run()
    with sqlite3.connect(file) as connection:
        query = "SELECT count(*) FROM products_search"
        (indexed,) = connection.execute(query).fetchone()
        (rows,) = connection.execute("SELECT count(*) FROM products").fetchone()
    assert indexed == rows > 0


def test_moved_audit_log_proves_itself_against_a_kept_checkpoint(
    make_settings: Callable[..., Any], tmp_path: Path, make_database: MakeDatabase
) -> None:
    def settings(url: str) -> AuditSettings:
        made: AuditSettings = make_settings(AuditSettings, database_url=url, key_secret=TEST_KEY_SECRET)
        return made

    there, back = make_database(), f"sqlite:///{tmp_path}/back.db"
    with Log(settings(f"sqlite:///{tmp_path}/audit.db")) as log:
        log.fill(300)
        kept = log.sign()
    for before, after in ((f"sqlite:///{tmp_path}/audit.db", there), (there, back)):
        move("audit", before, after).run()
        with Log(settings(after)) as log:
            assert log.verify().verification.faults == []
            assert log.faults(kept) == []
            log.fill(10)  # it goes on
            assert log.faults(kept) == []


def tables_of(url: str) -> dict[str, set[str]]:
    with closing(Postgresql(url)) as database:
        return database.tables()


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the move runs after it."""


@pytest.mark.parametrize("way", ["to PostgreSQL", "to SQLite"])
def test_a_move_killed_anywhere_continues_where_it_was(
    way: str, tmp_path: Path, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatehouse.move.rows._SMALL_ROWS", 7)
    source = filled("users", tmp_path / "users.db")
    if way == "to SQLite":
        source, first = make_database(), source
        move("users", first, source).run()
        pausing.resume(tmp_path / "users.db")
    target = make_database() if way == "to PostgreSQL" else f"sqlite:///{tmp_path}/new.db"
    kind: Any = Postgresql if way == "to PostgreSQL" else Sqlite
    for name, times in (("begin", 0), ("clear", 0), ("write", 3), ("write", 6), ("finish", 0)):
        kill_in(monkeypatch, kind, name, times)
        with pytest.raises(Killed):
            move("users", source, target).run()
        monkeypatch.undo()
        monkeypatch.setattr("gatehouse.move.rows._SMALL_ROWS", 7)
        if name != "begin":  # no service starts with half of its rows
            with pytest.raises(MoveUnfinished):
                upgrade_apart(target, migrations("users"))
    said: list[str] = []
    moved = move("users", source, target, said).run()
    assert all(one.is_equal for one in moved)
    assert any(line.startswith("continuing after") for line in said)
    assert not any("anew" in line for line in said)
    upgrade_apart(target, migrations("users"))


def kill_in(monkeypatch: pytest.MonkeyPatch, kind: Any, name: str, after: int) -> None:
    """Let the move be killed in this step, once the step has been done `after` times; writes stay paused."""
    real, calls = getattr(kind, name), iter(range(1000))

    def step(self: Any, *arguments: Any) -> None:
        if next(calls) >= after:
            raise Killed
        real(self, *arguments)

    def no_cleanup(_self: Any) -> None:
        raise OSError

    monkeypatch.setattr(kind, name, step)
    for one in (Sqlite, Postgresql):
        monkeypatch.setattr(one, "resume_writes", no_cleanup)


def test_what_a_service_wrote_between_two_attempts_is_moved_as_well(
    tmp_path: Path, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = filled("users", tmp_path / "users.db"), make_database()
    kill_in(monkeypatch, Postgresql, "finish", 0)
    with pytest.raises(Killed):
        move("users", source, target).run()
    monkeypatch.undo()
    with sqlite3.connect(tmp_path / "users.db") as connection:
        connection.execute("UPDATE inbox SET received = '2026-11-28T12:00:00.000000+00:00'")
    said: list[str] = []
    moved = move("users", source, target, said).run()
    assert any("anew" in line for line in said)
    assert all(one.is_equal for one in moved)


@pytest.mark.parametrize("way", ["to PostgreSQL", "to SQLite"])
def test_a_row_that_was_replaced_between_two_attempts_begins_the_copy_anew(
    way: str, tmp_path: Path, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new row and the copy of the old one have the same unique value."""
    source, target = filled("users", tmp_path / "users.db"), make_database()
    kind: Any = Postgresql
    if way == "to SQLite":
        move("users", source, target).run()
        source, target, kind = target, f"sqlite:///{tmp_path}/new.db", Sqlite
    kill_in(monkeypatch, kind, "finish", 0)
    with pytest.raises(Killed):
        move("users", source, target).run()
    monkeypatch.undo()
    replace = f"UPDATE settings SET id = '{chr(0x10FFFF) * 36}' WHERE id = (SELECT min(id) FROM settings)"
    of_source: Any = Postgresql if way == "to SQLite" else Sqlite
    with closing(of_source(source)) as database:
        assert database.connection.execute(replace).rowcount == 1
    said: list[str] = []
    moved = move("users", source, target, said).run()
    assert any("anew" in line for line in said)
    assert all(one.is_equal for one in moved)


class TestRefused:
    def test_a_target_with_tables(self, tmp_path: Path, make_database: MakeDatabase) -> None:
        source, target = filled("users", tmp_path / "users.db"), make_database()
        with psycopg.connect(target) as server:
            server.execute("CREATE TABLE mine (id text)")
        with pytest.raises(NotMoved, match="has tables already"):
            move("users", source, target).run()
        assert not pausing.is_paused(tmp_path / "users.db")

    def test_a_target_of_another_move(
        self, tmp_path: Path, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = make_database()
        kill_in(monkeypatch, Postgresql, "clear", 0)
        with pytest.raises(Killed):
            move("users", filled("users", tmp_path / "users.db"), target).run()
        monkeypatch.undo()
        with pytest.raises(NotMoved, match="unfinished move of users from"):
            move("users", filled("users", tmp_path / "others.db"), target).run()

    @pytest.mark.parametrize("version", ["0001", "9999"])
    def test_a_database_of_another_version(
        self, version: str, tmp_path: Path, make_database: MakeDatabase
    ) -> None:
        source = filled("users", tmp_path / "users.db")
        with sqlite3.connect(tmp_path / "users.db") as connection:
            connection.execute("UPDATE schema_migrations SET version_num = ?", [version])
        with pytest.raises(NotMoved, match=f"at version {version}"):
            move("users", source, make_database()).run()

    def test_a_table_that_would_be_lost(self, tmp_path: Path, make_database: MakeDatabase) -> None:
        source = filled("users", tmp_path / "users.db")
        with sqlite3.connect(tmp_path / "users.db") as connection:
            connection.execute("CREATE TABLE notes_of_the_operator (id text)")
        with pytest.raises(NotMoved, match="notes_of_the_operator"):
            move("users", source, make_database()).run()

    @pytest.mark.parametrize("url", ["nonsense", "mysql://me:secret@host/orders"])
    def test_what_is_no_url_of_a_database(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["move", "orders", "--to", url]) != 0
        told = capsys.readouterr().err
        assert "not the URL of a database" in told
        assert "secret" not in told

    def test_the_same_kind_of_database(self, tmp_path: Path) -> None:
        with pytest.raises(NotMoved, match="not from sqlite to sqlite"):
            move("users", f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db")

    def test_values_that_postgresql_would_refuse(self, tmp_path: Path, make_database: MakeDatabase) -> None:
        source = filled("users", tmp_path / "users.db")
        with sqlite3.connect(tmp_path / "users.db") as connection:
            for number, value in enumerate(["'a' || char(0)", "x'ff41'", "x'eda080'", "'" + "x" * 501 + "'"]):
                connection.execute(
                    "UPDATE outbox SET last_error = CAST(? || '' AS TEXT) WHERE rowid = "
                    "(SELECT rowid FROM outbox ORDER BY seq LIMIT 1 OFFSET ?)".replace("? || ''", value, 1),
                    [number],
                )
            connection.execute("UPDATE outbox SET attempts = 1 << 40, created = 'now' WHERE seq = "
                               "(SELECT max(seq) FROM outbox)")  # fmt: skip
        target = make_database()
        with pytest.raises(NotMoved) as refused:
            move("users", source, target).run()
        reasons = ["U+0000", "not UTF-8 at byte 0", "a lone surrogate", "more than 500 characters"]
        for reason in [*reasons, "attempts is too large", "created is not a timestamp", "outbox with seq '"]:
            assert reason in str(refused.value)
        assert tables_of(target) == {}
        assert not pausing.is_paused(tmp_path / "users.db")

    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    def test_a_second_move_of_a_service_and_a_cancel_while_the_first_runs(
        self, kind: str, tmp_path: Path, make_database: MakeDatabase
    ) -> None:
        source, target = filled("users", tmp_path / "users.db"), make_database()
        if kind == "postgresql":
            move("users", source, target).run()
            source, target = target, f"sqlite:///{tmp_path}/new.db"
        said: list[str] = []
        second = move("users", source, make_database() if kind == "sqlite" else f"sqlite:///{tmp_path}/2.db")

        def refuse_others(line: str) -> None:
            if "writes are paused" in line:
                for command in (second.run, second.cancel):
                    with pytest.raises(NotMoved) as refused:
                        command()
                    said.append(str(refused.value))

        first = move("users", source, target)
        first.say = refuse_others
        assert all(one.is_equal for one in first.run())
        assert said == ["another move of users is running; wait for it or stop it. Nothing was changed."] * 2
        with closing(first._source()) as database:
            assert database.is_paused(), "the second one let the service write again"
        second.cancel()
        assert not [*tmp_path.glob("*.moving")]


class TestPause:
    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    def test_writes_are_refused_and_reads_go_on_until_it_is_cancelled(
        self, kind: str, tmp_path: Path, make_database: MakeDatabase
    ) -> None:
        url = filled("users", tmp_path / "users.db")
        other = make_database()
        if kind == "postgresql":
            move("users", url, other).run()
            url, other = other, f"sqlite:///{tmp_path}/new.db"
        database = Database(url)

        def change(session: Session) -> None:
            session.connection().exec_driver_sql("DELETE FROM inbox")

        try:
            with database.transaction() as session:  # it has open connections, as a running service has
                session.connection().exec_driver_sql("SELECT 1")
            move("users", url, other).run()
            with pytest.raises(Paused) as refused, database.transaction() as session:
                change(session)
            assert refused.value.headers == {"Retry-After": "5"}
            with database.transaction(write=False) as session:
                assert session.connection().exec_driver_sql("SELECT count(*) FROM inbox").scalar_one() > 0
            move("users", url, other).cancel()
            with database.transaction() as session:
                change(session)
        finally:
            database.close()

    @pytest.mark.parametrize("step", ["_connect", "_end_sessions"])
    def test_an_interrupted_pause_of_postgresql_ends(
        self, step: str, tmp_path: Path, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = make_database()
        move("users", filled("users", tmp_path / "users.db"), url).run()
        moving = move("users", url, f"sqlite:///{tmp_path}/new.db")
        source, target = moving._source(), moving._target()

        def interrupted(_self: Postgresql, *_: Any) -> None:
            assert source.is_paused()
            raise KeyboardInterrupt

        with closing(source), closing(target):
            monkeypatch.setattr(Postgresql, step, interrupted)
            with pytest.raises(NotMoved, match=r"^interrupted\."):
                moving._paused(source, target)
            assert not source.is_paused()

    def test_an_interrupted_or_refused_pause_of_sqlite_ends(
        self, tmp_path: Path, make_database: MakeDatabase
    ) -> None:
        file = tmp_path / "users.db"
        moving = move("users", filled("users", file), make_database())
        source, target = moving._source(), moving._target()
        real = source.connection

        class Locked:
            in_transaction = False

            def __init__(self, error: BaseException) -> None:
                self._error = error

            def execute(self, _query: str) -> None:
                assert pausing.is_paused(file)
                raise self._error

        with closing(real), closing(target):
            for error, said in ((KeyboardInterrupt(), "^interrupted"), (sqlite3.OperationalError("x"), "x")):
                source.connection = Locked(error)
                with pytest.raises(NotMoved, match=said):
                    moving._paused(source, target)
                assert not pausing.is_paused(file)

    def test_a_pause_that_may_have_stayed_names_the_command_that_ends_it(
        self, tmp_path: Path, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        source = filled("users", tmp_path / "users.db")
        monkeypatch.setattr(Postgresql, "begin", interrupted)
        monkeypatch.setattr(Sqlite, "resume_writes", interrupted)
        with pytest.raises(NotMoved, match="may still be paused: run gatehouse move users --cancel"):
            move("users", source, make_database()).run()

    def test_mark_does_not_count_for_a_restored_file(self, tmp_path: Path) -> None:
        file, restored = tmp_path / "orders.db", tmp_path / "orders.db.restoring"
        file.touch()
        pausing.pause(file)
        assert pausing.is_paused(file)
        restored.touch()
        restored.rename(file)
        assert not pausing.is_paused(file)


def documented(service: str, to: str) -> list[list[str]]:
    """Return the commands of the documentation, for another service and target."""
    page = (ROOT / "docs" / "moving.md").read_text()
    lines = re.findall(r"^    gatehouse (move orders .*)$", page, re.MULTILINE)
    return [re.sub(r"postgresql://\S+", to, line.replace("orders", service, 1)).split() for line in lines]


def command(data_dir: Path, *words: str) -> dict[str, Any]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {
        "args": [sys.executable, "-m", "gatehouse", *words],
        "cwd": ROOT,
        "env": {**environment, "DATA_DIR": str(data_dir), "ENVIRONMENT": "development"},
        "text": True,
    }


def run(data_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(**command(data_dir, *words), capture_output=True, check=False)


def test_commands_of_the_documentation_try_move_compare_and_cancel(
    tmp_path: Path, make_database: MakeDatabase
) -> None:
    filled("users", tmp_path / "users.db", rows=1500)
    target = make_database()
    (tmp_path / "url").write_text(f"{target}\n")
    tries, moves, compares, cancels = documented("users", f"@{tmp_path / 'url'}")

    tried = run(tmp_path, *tries, "--json")
    assert json.loads(tried.stdout)["rows"]["inbox"] == 1500, tried.stderr
    assert tables_of(target) == {}
    with subprocess.Popen(**command(tmp_path, *moves), stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert any("writes are paused" in line for line in process.stderr)
        process.send_signal(signal.SIGKILL)
    assert pausing.is_paused(tmp_path / "users.db")
    moved = run(tmp_path, *moves, "--json")
    told = json.loads(moved.stdout)
    assert {one["table"]: one["rows"] for one in told["tables"]}["inbox"] == 1500
    assert "USERS_DATABASE_URL" in told["next"]
    assert "rows/s" in moved.stderr
    assert run(tmp_path, *compares).returncode == 0
    with psycopg.connect(target) as server:
        server.execute("DELETE FROM inbox WHERE id = (SELECT min(id) FROM inbox)")
    compared = run(tmp_path, *compares)
    assert compared.returncode == 1
    assert "different: inbox" in compared.stderr
    assert run(tmp_path, *cancels).returncode == 0
    assert not pausing.is_paused(tmp_path / "users.db")


@pytest.mark.prove
async def test_a_million_rows_take_less_than_a_minute(tmp_path: Path, make_database: MakeDatabase) -> None:
    """A tenth of them by default; LENGTH=10 moves the million."""
    rows = int(support.length(100_000))
    source, target = f"sqlite:///{tmp_path}/audit.db", make_database()
    databases.migrate(source, migrations("audit"))
    fill_log(tmp_path / "audit.db", rows // 2)
    before = time.process_time()
    moved, seconds = await stalls.timed(asyncio.to_thread(move("audit", source, target).run))
    used = time.process_time() - before
    print(f"{rows:,} rows in {seconds:.1f} s, of which this process used {used:.1f} s")
    assert sum(one.rows for one in moved) > rows
    assert used < 60 * rows / 1_000_000  # other tests run beside this one, so its own time counts
    assert seconds < 60 or rows < 1_000_000


def test_progress_shows_speed_and_time_left_without_the_rows_of_an_earlier_run() -> None:
    progress = Progress("copying", 1_000, 400, io.StringIO())
    progress.advance(100)
    line = progress.line(2.0)
    assert line == "copying [############............] 500 of 1,000 rows, 50 rows/s, 10 s left"
