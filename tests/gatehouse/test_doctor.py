"""Each check of `gatehouse doctor`, seen to pass and to fail."""

import json
import os
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from gatehouse import cli, programs
from gatehouse.doctor import commands, configuration, databases, machine, network, servers
from gatehouse.doctor.commands import line
from gatehouse.programs import Program
from services.orders.settings import Settings as Orders
from services.users.settings import Settings as Users
from shared.data.migrate import newest
from shared.process.checkup import Finding, State, carried_out
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET
from tests import databases as test_databases
from tests import support
from tests.shared.processes import ROOT
from tests.shared.test_outbound import certificate

GOOD: State = "good"
WARNING: State = "warning"
FAULT: State = "fault"


def states(found: Iterable[Finding]) -> list[str]:
    return [one.state for one in found]


def one(found: Iterable[Finding]) -> Finding:
    (only,) = found
    assert (only.state == GOOD) == (only.remedy == "")
    return only


def orders(url: str = "", **values: Any) -> Orders:
    own = {"internal_secret": TEST_INTERNAL_SECRET, "database_url": url}
    return Orders.model_validate(own | values)


def test_an_old_python_is_a_fault() -> None:
    assert states(machine.python()) == [GOOD]
    assert "Install Python 3.11" in one(machine.python((3, 10, 9))).remedy


def test_packages_that_differ_from_the_lock_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    assert states(machine.packages(lock)) == [GOOD]
    assert states(machine.packages(ROOT / "requirements.lock")) == [GOOD]

    lock.write_text("httpx==0.1 \\\n    --hash=sha256:0\nno-such==1\ncolours==2 ; sys_platform == 'win32'\n")
    found = one(machine.packages(lock))
    assert found.state == FAULT
    assert "httpx is " in found.says
    assert "no-such is missing" in found.says
    assert "colours" not in found.says


def test_a_full_disk_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = os.statvfs(tmp_path)
    for blocks, state in ((1 << 24, GOOD), (1 << 18, WARNING), (1 << 16, FAULT)):  # of 4 KiB: 64, 1, ¼ GiB
        values = [4096, 4096, 1 << 24, blocks, blocks, *shown[5:]]
        monkeypatch.setattr(
            "gatehouse.doctor.machine.os.statvfs", lambda _, now=values: os.statvfs_result(now)
        )
        assert states(machine.disk("data disk", tmp_path / "made" / "later")) == [state]


def test_a_low_limit_on_open_files_is_a_warning() -> None:
    assert states(machine.open_files(100, limit=1_000)) == [GOOD]
    assert states(machine.open_files(100, limit=-1)) == [GOOD]
    assert "needs 20,100" in one(machine.open_files(10_000, limit=1_024)).says


def test_invalid_settings_and_settings_without_effect_are_found() -> None:
    assert states(configuration.settings([])) == [GOOD]
    assert (
        one(configuration.settings(["ORDERS_PORT: must be a number"])).says == "ORDERS_PORT: must be a number"
    )
    loaded = [Program("orders", "services.orders", {}, orders())]
    assert states(configuration.without_effect(loaded, {"ORDERS_PORT": "9000"})) == []
    assert "ORDERS_COLOUR" in one(configuration.without_effect(loaded, {"ORDERS_COLOUR": "red"})).says


def test_placeholder_secrets_are_found_also_in_the_env_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    strong = {"JWT_SECRET": "f3" * 32, "LOG_LEVEL": "changeme", "SMTP_PASSWORD": ""}
    assert states(configuration.placeholders(strong, file)) == [GOOD]

    file.write_text(
        "# REDIS_PASSWORD=changeme\nAUTH_DATABASE_PASSWORD=<secret>\nPUBLIC_URL=https://example.com\n"
    )
    found = [*configuration.placeholders({"JWT_SECRET": "change-me-in-production"}, file)]
    assert states(found) == [FAULT, FAULT]
    assert [one.says.partition(" is ")[0] for one in found] == [
        "AUTH_DATABASE_PASSWORD in .env",
        "JWT_SECRET",
    ]


@pytest.mark.parametrize(
    ("environment", "host", "state"),
    [
        ("development", "127.0.0.1", GOOD),
        ("development", "localhost", GOOD),
        ("development", "0.0.0.0", FAULT),
        ("production", "0.0.0.0", GOOD),
    ],
)
def test_development_is_a_fault_where_others_reach_it(environment: str, host: str, state: str) -> None:
    secret = {"jwt_secret": TEST_JWT_SECRET}
    settings = orders(environment=environment, host=host, **secret)  # as those of the gateway
    assert states(configuration.environment_name([Program("gateway", "gateway", {}, settings)])) == [state]


def test_secret_files_that_others_can_read_are_found(tmp_path: Path) -> None:
    secrets, given = tmp_path / "data" / "secrets", tmp_path / "given"
    secrets.mkdir(parents=True)
    made = secrets / "internal_secret"
    for file in (made, given):
        file.write_text(TEST_INTERNAL_SECRET)
        file.chmod(0o600)
    settings = orders(data_dir=tmp_path / "data")
    loaded = [Program("orders", "services.orders", {"INTERNAL_SECRET_FILE": str(given)}, settings)]
    files = configuration.private_files(tmp_path, loaded)
    assert {made, given} <= set(files)
    assert states(configuration.file_modes(files)) == [GOOD]

    given.chmod(0o640)
    assert one(configuration.file_modes(files)).remedy == f"Run chmod 600 {given}"


class Answers(BaseHTTPRequestHandler):
    """What a service answers; the tests change these."""

    title, ready, ahead_seconds = "orders", 200, 0.0

    def do_GET(self) -> None:
        body = json.dumps({"title": self.title}).encode()
        self.send_response_only(self.ready if self.path == "/health/ready" else 200)
        self.send_header("Date", formatdate(time.time() + self.ahead_seconds, usegmt=True))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""


@contextmanager
def answering(tls: ssl.SSLContext | None = None) -> Iterator[tuple[type[Answers], int]]:
    handler = type("Own", (Answers,), {})
    server = ThreadingHTTPServer(("127.0.0.1", support.free_port()), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield handler, server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_port_must_be_free_or_held_by_its_own_ready_program() -> None:
    with answering() as (service, number):
        program = Program("orders", "services.orders", {}, orders(port=number))
        assert "is ready" in one(network.port(program)).says
        service.ready = 503
        assert "is not ready" in one(network.port(program)).says
        service.ready, service.ahead_seconds = 200, 60.0
        assert "ahead" in one(network.port(program)).says
        service.title, service.ahead_seconds = "another", 0.0
        assert f"(process {os.getpid()})" in one(network.port(program)).says
    assert "is free" in one(network.port(program)).says

    elsewhere = Program("orders", "services.orders", {}, orders(host="192.0.2.1"))
    assert "ORDERS_HOST" in one(network.port(elsewhere)).remedy


def test_only_addresses_that_somebody_set_are_looked_at() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        number = listening.getsockname()[1]
        settings = Users.model_validate(
            {"internal_secret": TEST_INTERNAL_SECRET, "auth_url": f"http://127.0.0.1:{number}"}
        )
        given = {"AUTH_URL": f"http://127.0.0.1:{number}"}
        assert network.addresses([Program("users", "services.users", {}, settings)]) == {}
        found = network.addresses([Program("users", "services.users", given, settings)])
        assert found == {("127.0.0.1", number): ("AUTH_URL", "http")}
        assert states(network.reachable("127.0.0.1", number, "AUTH_URL", "http")) == [GOOD]
    assert "not reachable" in one(network.reachable("127.0.0.1", number, "AUTH_URL", "http")).says
    assert "does not resolve" in one(network.reachable("no.invalid", 80, "AUTH_URL", "http")).says


def test_certificates_that_expire_or_are_not_trusted_are_found(tmp_path: Path) -> None:
    for days, state in ((60, GOOD), (14, WARNING), (3, FAULT), (-1, FAULT)):
        expires = (datetime.now(UTC) + timedelta(days=days)).strftime("%b %d %H:%M:%S %Y GMT")
        assert states(network.certificate("PUBLIC_URL", expires)) == [state]

    _, tls = certificate(tmp_path, "localhost")
    with answering(tls) as (_, number):
        found = one(network.reachable("localhost", number, "PUBLIC_URL", "https"))
    assert "certificate is not valid" in found.says


def test_a_clock_that_differs_is_a_fault() -> None:
    assert states(network.clock("orders database", time.time() + 1)) == []
    for seconds in (5, -5):
        assert states(network.clock("orders database", time.time() + seconds)) == [FAULT]


def test_a_database_is_checked_for_version_and_events(database_url: str) -> None:
    settings = orders(database_url)
    name = "orders database"
    if settings.sqlite_file() is not None:
        assert "does not exist yet" in one(databases.database(settings)).says
    test_databases.migrate(database_url, settings.migrations())
    assert states(databases.database(settings)) == [GOOD, GOOD]

    old = (datetime.now(UTC) - timedelta(minutes=5)).isoformat(timespec="microseconds")
    moment = f"'{old}'"
    execute(
        settings,
        "INSERT INTO outbox (subscriber, key, body, created, attempts)"
        f" VALUES ('audit', 'a', '{{}}', {moment}, 0)",
        "INSERT INTO parked (id, topic, key, body, received, due, attempts, dead, blocks)"
        f" VALUES ('1', 'a', 'a', '{{}}', {moment}, {moment}, 9, true, false)",
    )
    found = [*databases.database(settings)]
    assert states(found) == [GOOD, FAULT, WARNING]
    assert "gatehouse events dead orders" in found[1].remedy
    assert found[2].says.startswith("the oldest event has waited ")
    assert found[2].says.endswith(" s for audit")

    for version, state in (("0001", WARNING), ("9999", FAULT)):
        execute(settings, f"UPDATE schema_migrations SET version_num = '{version}'")
        assert next(iter(databases.database(settings))).state == state
    execute(settings, f"UPDATE schema_migrations SET version_num = '{newest(settings.migrations())}'")
    assert {one.check for one in databases.database(settings)} == {name, "orders events"}


def execute(settings: Orders, *statements: str) -> None:
    file = settings.sqlite_file()
    connection: Any = sqlite3.connect(file) if file else psycopg.connect(settings.database_url)
    with closing(connection), connection:
        for statement in statements:
            connection.execute(statement)


def test_a_damaged_sqlite_file_and_a_large_log_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = orders(f"sqlite:///{tmp_path}/orders.db")
    test_databases.migrate(settings.database_url, settings.migrations())
    execute(settings, "PRAGMA wal_checkpoint(TRUNCATE)")
    file = tmp_path / "orders.db"
    sound = file.read_bytes()
    file.write_bytes(sound[: len(sound) // 2] + os.urandom(len(sound) - len(sound) // 2))
    assert "is damaged" in one(databases.database(settings)).says
    file.write_bytes(b"nothing of SQLite" * 1_000)
    assert "is damaged" in one(databases.database(settings, is_quick=True)).says

    file.write_bytes(sound)
    monkeypatch.setattr(databases, "LOG_BYTES_MAX", 1_000)
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE more (id)")
        writer.commit()
        assert WARNING in states(databases.database(settings))


def test_a_postgresql_server_that_is_away_or_too_small_is_found(postgresql_server: str) -> None:
    assert states(databases.connections(postgresql_server, [orders()])) == [GOOD]
    many = [orders(database_pool=200)]
    found = one(databases.connections(postgresql_server, many))
    assert "Set max_connections to" in found.remedy

    away = orders(f"postgresql://postgres@127.0.0.1:{support.free_port()}/orders")
    assert "not reachable" in one(databases.database(away)).says
    assert states(databases.connections(away.database_url, many)) == []


def test_several_servers_are_one_of_which_the_primary_is_asked(postgresql_server: str) -> None:
    away, port = support.free_port(), make_url(postgresql_server).port
    hosts = f"host=127.0.0.1,127.0.0.1&port={away},{port}&target_session_attrs=primary"
    found = one(databases.connections(f"postgresql://postgres@/postgres?{hosts}", [orders()]))

    assert (found.state, found.check) == (GOOD, f"PostgreSQL 127.0.0.1,127.0.0.1:{away},{port}")


def test_redis_must_keep_everything_and_be_able_to_save() -> None:
    with support.redis_server("--save", "", "--maxmemory-policy", "allkeys-lru") as server:
        assert "maxmemory-policy is allkeys-lru" in one(servers.redis(server.url)).says
    assert "not reachable" in one(servers.redis(server.url)).says
    with support.redis_server() as server:
        assert states(servers.redis(server.url)) == [GOOD]
    failed = {"aof_last_write_status": "err", "rdb_last_bgsave_status": "ok"}
    assert "cannot save" in one(servers._of_redis("Redis", failed, "noeviction", 1.0)).says


def test_the_age_of_the_newest_whole_backup_is_checked(tmp_path: Path) -> None:
    assert states(servers.backups(tmp_path / "none", is_production=True)) == [FAULT]
    moment = datetime.now(UTC)
    for name, hours, state in (("orders-", 1, WARNING), ("", 30, WARNING), ("", 2, GOOD)):
        taken = moment - timedelta(hours=hours)
        (tmp_path / f"gatehouse-{name}{taken:%Y-%m-%dT%H-%M-%SZ}.tar").touch()
        assert states(servers.backups(tmp_path, is_production=False)) == [state]


def test_a_backup_is_as_old_as_the_schedule_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = datetime.now(UTC) - timedelta(days=3)
    (tmp_path / f"gatehouse-{taken:%Y-%m-%dT%H-%M-%SZ}.tar").touch()
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path))
    loaded = [Program("orders", "services.orders", {}, orders())]

    def found(when: datetime, weekday: str) -> list[str]:
        monkeypatch.setenv("BACKUP_SCHEDULE", f"{when.minute} {when.hour} * * {weekday}")
        checks = dict(commands.all_checks(ROOT, loaded, [], is_quick=True))
        return states(checks["backups"]())

    weekly = taken - timedelta(minutes=1)
    assert found(weekly, f"{weekly:%a}") == [GOOD]
    assert found(weekly, "*") == [WARNING]
    missed = datetime.now(UTC) - timedelta(hours=3)
    assert found(missed, f"{missed:%a}") == [WARNING]
    late = datetime.now(UTC) - timedelta(hours=1)
    assert found(late, f"{late:%a}") == [GOOD]  # it may still be running


def test_an_error_in_a_check_is_a_finding() -> None:
    def broken() -> list[Finding]:
        raise RuntimeError("two\nlines")

    assert "RuntimeError: two lines" in one(carried_out("orders database", broken)).says


def test_only_terminals_get_colours() -> None:
    found = Finding("Redis", FAULT, "is away", "Start it.")
    assert line(found, is_coloured=False) == "✗ Redis: is away. Start it."
    assert "\x1b[31m" in line(found, is_coloured=True)


def test_doctor_reports_a_suite_that_has_never_run_and_invalid_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path))
    monkeypatch.setenv("TERMINAL_BOX_BACKEND", "process")
    for name in programs.find(ROOT):
        monkeypatch.setenv(f"{name.upper()}_PORT", str(support.free_port()))
    code = cli.main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [one for one in found if one["state"] == FAULT] == []
    assert code == 0
    named = {one["check"] for one in found}
    assert {"Python", "orders port", "orders database", "data disk", "routes file", "terminal boxes"} <= named

    monkeypatch.setenv("ROUTES_FILE", str(tmp_path / "none.yaml"))
    assert cli.main(["doctor", "--quick"]) == 1
    assert "✗ routes file: " in capsys.readouterr().out

    monkeypatch.setenv("ORDERS_PORT", "none")
    assert cli.main(["doctor"]) == 1
    assert "✗ settings: ORDERS_PORT" in capsys.readouterr().out
