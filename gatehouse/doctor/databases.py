"""Checks of one service's database, and of the PostgreSQL server that holds several."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url

from gatehouse.doctor.network import clock
from shared.data.database import POSTGRESQL_CONNECTIONS
from shared.data.migrate import newest, reach_of
from shared.data.postgresql import server_of
from shared.data.reach import VERSION_TABLE
from shared.process.checkup import ASK_SECONDS, Finding, fault, good, warning
from shared.process.settings import ServiceSettings

LOG_BYTES_MAX = 256 << 20
STUCK_SECONDS = 60.0
DEAD_COUNTED_MAX = 1_000
POSTGRESQL_MIN = 130_000
BESIDE_POOLS = 5  # connections for backups, psql and monitoring

Rows = Callable[[str], list[tuple[Any, ...]]]


def database(settings: ServiceSettings, *, is_quick: bool = False) -> Iterator[Finding]:
    name = f"{settings.service} database"
    file = settings.sqlite_file()
    if file is None:
        yield from _postgresql(name, settings)
    elif not file.exists() or file.stat().st_size == 0:
        yield good(name, f"{file} does not exist yet; the first start creates it")
    else:
        yield from _sqlite(name, file, settings, is_quick=is_quick)


def _sqlite(name: str, file: Path, settings: ServiceSettings, *, is_quick: bool) -> Iterator[Finding]:
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", ASK_SECONDS, uri=True)) as connection:
            if not is_quick and (damage := connection.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
                raise sqlite3.DatabaseError(damage[0])  # noqa: TRY301 - as a damaged header is reported
            yield from _content(name, settings, lambda query: connection.execute(query).fetchall())
    except sqlite3.OperationalError as error:
        yield fault(name, f"{file} cannot be read ({error})", "Check the owner and mode of the file.")
    except sqlite3.DatabaseError as error:
        yield fault(name, f"{file} is damaged ({error})", "Stop the suite and restore a backup.")
    log = Path(f"{file}-wal")
    size = log.stat().st_size if log.exists() else 0
    if size > LOG_BYTES_MAX:
        words = f"its write-ahead log has {size >> 20:,} MiB"
        yield warning(name, words, f"A long read keeps it this large; restart {settings.service} to end it.")


def _postgresql(name: str, settings: ServiceSettings) -> Iterator[Finding]:
    try:
        with connected(settings.database_url) as connection:
            [(moment,)] = connection.execute(
                "SELECT extract(epoch FROM clock_timestamp())::float8"
            ).fetchall()
            yield from clock(name, moment)
            if connection.info.server_version < POSTGRESQL_MIN:
                version = connection.info.server_version // 10_000
                yield fault(name, f"the server is PostgreSQL {version}", "Upgrade it to 13 or newer.")
            yield from _content(name, settings, lambda query: connection.execute(query.encode()).fetchall())
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        variable = f"{settings.service.upper()}_DATABASE_URL"
        yield fault(name, f"not reachable ({reason})", f"Start the server, or correct {variable}.")


def connected(url: str) -> psycopg.Connection[Any]:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, connect_timeout=int(ASK_SECONDS), autocommit=True)


def _content(name: str, settings: ServiceSettings, rows: Rows) -> Iterator[Finding]:
    """Check the version, and whether events are stuck."""
    began = time.monotonic()
    there = {table for (table,) in rows(_tables(settings))}
    took = (time.monotonic() - began) * 1000
    known = newest(settings.migrations()) or "none"
    version = str(rows(f"SELECT version_num FROM {VERSION_TABLE}")[0][0]) if VERSION_TABLE in there else ""  # noqa: S608 - ours
    if version > known and reach_of(settings.database_url).is_readable_by(known):
        words = f"is at version {version}, newer than this program, which can use it"
        yield warning(name, words, "Run the newer program again, unless you went back on purpose.")
    elif version > known:
        words = f"is at version {version}, but this program knows only {known}"
        yield fault(name, words, "Run the newer program, or restore a backup.")
    elif version < known:
        words = f"is at version {version or 'none'}; migrations up to {known} are pending"
        yield warning(name, words, f"Run gatehouse migrate {settings.service}, or start the service.")
    else:
        yield good(name, f"at version {version}, {took:.0f} ms")
    if {"outbox", "parked"} <= there:
        yield from _events(settings.service, rows)


def _tables(settings: ServiceSettings) -> str:
    if settings.sqlite_file() is not None:
        return "SELECT name FROM sqlite_master WHERE type = 'table'"
    return "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"


def _events(service: str, rows: Rows) -> Iterator[Finding]:
    name = f"{service} events"
    waiting = rows("SELECT subscriber, created FROM outbox WHERE sent_as IS NULL ORDER BY seq LIMIT 1")
    dead = len(rows(f"SELECT 1 FROM parked WHERE dead LIMIT {DEAD_COUNTED_MAX}"))  # noqa: S608 - a number
    if dead:
        number = f"at least {dead:,}" if dead == DEAD_COUNTED_MAX else f"{dead:,}"
        remedy = f"See gatehouse events dead {service}, then gatehouse events replay {service} ID."
        yield fault(name, f"{number} were given up", remedy)
    age = (datetime.now(UTC) - _moment(waiting[0][1])).total_seconds() if waiting else 0.0
    if age > STUCK_SECONDS:
        words = f"the oldest event has waited {age:,.0f} s for {waiting[0][0]}"
        yield warning(name, words, f"Start {waiting[0][0]}, and see its log and that of {service}.")
    elif not dead:
        yield good(name, "none is stuck or given up")


def _moment(value: str | datetime) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def connections(url: str, services: Iterable[ServiceSettings]) -> Iterator[Finding]:
    """Compare the sum of the pools on one server with the connections that it allows."""
    place = make_url(url)
    name = f"PostgreSQL {':'.join(server_of(place))}"
    needed = sum(one.database_pool or POSTGRESQL_CONNECTIONS for one in services) + BESIDE_POOLS
    try:
        with connected(url) as connection:
            query = (
                b"SELECT name, setting::int FROM pg_settings WHERE name IN"
                b" ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"
            )
            limits: dict[str, int] = dict(connection.execute(query).fetchall())
    except psycopg.OperationalError:
        return  # reported with its databases
    allowed = limits["max_connections"] - sum(
        limits.get(one, 0) for one in ("superuser_reserved_connections", "reserved_connections")
    )
    if allowed < needed:
        words = f"allows {allowed} connections, but one replica of every service uses up to {needed}"
        yield fault(name, words, f"Set max_connections to {needed + 20} or more, or lower DATABASE_POOL.")
    else:
        yield good(name, f"allows {allowed} connections; the services use up to {needed}")
