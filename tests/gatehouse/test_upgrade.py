"""`gatehouse upgrade` refuses what would lose something, continues where it was, and knows the way back."""

import json
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gatehouse import catalogue, cli, programs
from gatehouse.upgrade import code, plan
from gatehouse.upgrade.journal import Journal
from gatehouse.upgrade.running import Upgrade, Wanted
from shared.data.migrate import newest
from tests import databases, support
from tests.shared.processes import ROOT

SERVICES = sorted(programs.find(ROOT).keys() - {programs.GATEWAY})
ORDERS = ROOT / "services" / "orders" / "migrations"
NEWEST = newest(ORDERS) or ""
# Of two services that send each other nothing, either may come first.
ORDER = ["audit", "files", "notifications", "inventory", "orders", "support", "terminal", "users", "auth"]


class Disk(NamedTuple):
    total: int
    used: int
    free: int


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data of a suite that does not run; its ports are free."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DATA_DIR", str(folder))
    monkeypatch.setenv("ROUTES_FILE", str(ROOT / "routes.yaml"))
    monkeypatch.setenv("GATEWAY_ADMIN_PORT", "0")
    for name in programs.find(ROOT):
        monkeypatch.setenv(f"{name.upper()}_PORT", str(support.free_port()))
    for name in SERVICES:
        databases.migrate(f"sqlite:///{folder}/{name}.db", ROOT / "services" / name / "migrations")
    return folder


@pytest.fixture
def run(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    def running(*words: str) -> tuple[int, str]:
        options = ["--backup-to", str(tmp_path / "backups"), "--without-secrets"]
        code = cli.main(["upgrade", *options, *words])
        told = capfd.readouterr()
        return code, told.out if code == 0 else told.err

    return running


def change(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "orders.db")) as database:
        database.execute(statement)
        database.commit()


def version(data: Path) -> str:
    with closing(sqlite3.connect(data / "orders.db")) as database:
        return str(database.execute("SELECT version_num FROM schema_migrations").fetchone()[0])


def test_upgrade_that_failed_to_roll_continues_with_its_backup_and_then_goes_back(
    data: Path, tmp_path: Path, run: Run
) -> None:
    (data / "support.db").unlink()
    rolled = tmp_path / "rolled"
    (tmp_path / "roll").write_text(
        f"#!/bin/sh\n[ $1 = orders -a ! -e fixed ] && exit 3\necho $1 >>{rolled}\n"
    )
    (tmp_path / "roll").chmod(0o700)
    change(data, "UPDATE schema_migrations SET version_num = '0003'")  # as 0.2.0 left it, and went back to it

    code, said = run("--roll", "./roll {}")
    assert code == 1
    assert "`./roll orders` ended with exit code 3" in said
    assert "same command again" in said
    assert (version(data), (data / "support.db").exists()) == (NEWEST, True)
    (backup,) = (tmp_path / "backups").glob("*.tar")

    (tmp_path / "fixed").touch()
    code, told = run("--roll", "./roll {}", "--json")
    done = json.loads(told)
    assert (code, done["backup"]) == (0, str(backup)), told
    assert rolled.read_text().split() == done["rolled"] == [*ORDER, "gateway"], "each once, the gateway last"
    assert done["services"]["orders"] == {"from": "0003", "to": NEWEST}

    assert run("--back", "--roll", "false")[0] == 1
    journal = Journal.of(data)
    assert journal is not None
    assert (journal.is_undone, journal.rolled) == (True, []), "programs of the former code may run already"
    code, told = run("--back", "--roll", "./roll {}", "--json")
    assert (code, json.loads(told)["stop"]) == (0, ["support"])
    assert version(data) == "0003"
    left = [name for name in ORDER if name != "support"]
    assert rolled.read_text().split()[len(done["rolled"]) :] == ["gateway", *reversed(left)]
    code, told = run("--dry-run", "--json")
    assert json.loads(told)["services"]["orders"] == {"from": "0003", "to": NEWEST}
    assert version(data) == "0003", "a plan changes nothing"


def test_plan_asks_for_the_passphrase_of_the_backup(
    data: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BACKUP_PASSPHRASE", raising=False)
    assert cli.main(["upgrade", "--dry-run"]) == 1
    told = capfd.readouterr()
    assert "set BACKUP_PASSPHRASE" in told.err
    assert "--without-secrets" in told.err
    assert told.out == ""


def test_identity_of_the_code_changes_with_each_of_its_files_and_with_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "shared" / "__pycache__").mkdir(parents=True)
    (tmp_path / "services" / "orders" / "pages").mkdir(parents=True)
    (tmp_path / "shared" / "clock.py").write_text("now = 1")
    first = code.identity(tmp_path)
    (tmp_path / "shared" / "__pycache__" / "clock.cpython-311.pyc").write_bytes(b"compiled")
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / "one.tar").touch()
    assert code.identity(tmp_path) == first

    (tmp_path / "shared" / "clock.py").write_text("now = 2")
    second = code.identity(tmp_path)
    (tmp_path / "services" / "orders" / "pages" / "one.html").write_text("")
    assert len({first, second, code.identity(tmp_path)}) == 3


def test_corrected_code_without_a_migration_replaces_every_program(
    data: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolled = tmp_path / "rolled"
    (tmp_path / "roll").write_text(
        f"#!/bin/sh\n[ $1 = orders -a ! -e fixed ] && exit 3\necho $1 >>{rolled}\n"
    )
    (tmp_path / "roll").chmod(0o700)
    change(data, "UPDATE schema_migrations SET version_num = '0003'")
    monkeypatch.setattr(code, "identity", lambda _: "faulty")
    assert run("--roll", "./roll {}")[0] == 1
    reached = rolled.read_text().split()
    assert "notifications" in reached

    (tmp_path / "fixed").touch()
    monkeypatch.setattr(code, "identity", lambda _: "corrected")
    assert run("--roll", "./roll {}")[0] == 0
    assert rolled.read_text().split() == [*reached, *ORDER, "gateway"], "the faulty ones as well"


def test_way_back_leads_to_the_code_from_before(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "identity", lambda _: "this")
    monkeypatch.setattr(plan, "faults", lambda *_: [])
    here = {name: newest(ROOT / "services" / name / "migrations") for name in SERVICES}
    lower = {**here, "orders": "0003", "support": None}

    backup = tmp_path / "one.tar"
    backup.touch()

    def prepared(**former: Any) -> Journal:
        Journal(data / "upgrade.json", lower, **({"after": here, "backup": str(backup)} | former)).write()
        upgrade = Upgrade(Wanted(ROOT, "true", tmp_path / "backups", True, lambda _: None))
        upgrade.prepare()
        assert upgrade.journal.after == here
        return upgrade.journal

    assert prepared(code="this", is_finished=True).before == lower, "once more"
    assert prepared(code="other", is_finished=True).before == here, "a step of its own"
    assert prepared(code="other", is_finished=True, is_undone=True).before == lower, "after going back"

    done = ["audit", "auth"]
    same, other = prepared(code="this", rolled=done), prepared(code="other", rolled=done)
    assert (same.before, same.rolled, same.backup) == (lower, done, str(backup))
    assert (other.before, other.rolled, other.backup) == (lower, [], str(backup)), "it leads on"
    overtaken = prepared(code="other", after={**here, "orders": "0004"})
    assert (overtaken.before["orders"], overtaken.before["support"]) == (NEWEST, None)
    assert overtaken.backup == "", "what migrated orders since may have stored data since"

    asked: dict[str, str | None] = {}
    monkeypatch.setattr(
        plan, "contracting", lambda place, known: asked.update({place.parent.name: known}) or []
    )
    prepared(code="other")
    assert asked == {**lower, "support": here["support"]}, "programs from before may run, but none of support"


def test_receivers_of_events_are_replaced_before_their_senders() -> None:
    order = plan.receivers_first(["auth", "inventory", "notifications", "orders", "support", "users"])
    sent = [
        (kind.source, name)
        for kind in catalogue.kinds()
        for name in catalogue.receivers(kind)
        if kind.source in order and name in order and name != kind.source
    ]
    assert ("orders", "notifications") in sent
    assert [(sender, name) for sender, name in sent if order.index(sender) < order.index(name)] == []


def test_services_that_send_each_other_events_are_each_replaced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_receivers", lambda: {"a": {"b", "c"}, "b": {"a"}, "c": {"a", "b"}})
    assert plan.receivers_first(["a", "b", "c"]) == ["b", "a", "c"]


@pytest.mark.parametrize(
    "what", ["newer", "unreadable", "full", "breaking", "port", "journal", "no_way_back"]
)
def test_refusal_says_why_and_changes_nothing(
    what: str, data: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {
        "newer": "the database of orders is at 9999, and this code, which knows only",
        "unreadable": "the database of orders cannot be read: file is not a database",
        "full": "MiB free. Free some space",
        "breaking": "still use what these migrations remove: orders 0099_drop_note",
        "port": "orders port: ",
        "journal": "upgrade.json cannot be read",
        "no_way_back": "no upgrade is known here",
    }
    with socket.socket() as other:
        if what == "newer":
            change(data, "UPDATE schema_migrations SET version_num = '9999'")
        elif what == "unreadable":
            (data / "orders.db").write_bytes(b"x" * 8192)
        elif what == "full":
            monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10**12, 10**12, 1000))
        elif what == "breaking":
            files = {"orders": ["0099_drop_note"]}
            monkeypatch.setattr(plan, "contracting", lambda place, _: files.get(place.parent.name, []))
        elif what == "port":
            other.bind(("127.0.0.1", int(os.environ["ORDERS_PORT"])))
            other.listen()
        elif what == "journal":
            (data / "upgrade.json").write_text("{")
        before = {file.name: file.read_bytes() for file in data.glob("*.db")}
        code, told = run(*(["--back"] if what == "no_way_back" else ["--roll", "false"]))

    assert code == 1
    assert said[what] in told
    assert not (tmp_path / "backups").exists()
    assert {file.name: file.read_bytes() for file in data.glob("*.db")} == before


def test_second_upgrade_and_the_way_back_are_refused_while_one_runs(
    data: Path, tmp_path: Path, run: Run
) -> None:
    command = f"{sys.executable} -m gatehouse upgrade"
    (tmp_path / "roll").write_text(
        "#!/bin/sh\n"
        "[ $1 = audit ] || exit 0\n"
        f"{command} --without-secrets --roll true 2>>said && exit 3\n"
        f"{command} --back --roll true 2>>said && exit 4\n"
        "exit 0\n"
    )
    (tmp_path / "roll").chmod(0o700)
    code, said = run("--roll", "./roll {}")
    assert code == 0, said
    refusal = "another upgrade of the suite is running; wait for its end. Nothing was changed.\n"
    assert (tmp_path / "said").read_text() == 2 * refusal
    assert not (data / "upgrade.lock").exists()


def test_way_back_over_a_contracting_migration_is_refused_for_all_services(data: Path, run: Run) -> None:
    Journal(data / "upgrade.json", {"auth": "0005", "orders": "0003"}, {}, "/backups/one.tar").write()
    change(data, "UPDATE schema_migrations SET readable_from = '0004'")

    code, told = run("--back")
    assert code == 1
    assert "the database of orders has migrations since 0003 that the former code cannot use" in told
    assert "gatehouse restore /backups/one.tar --replace" in told
    with closing(sqlite3.connect(data / "auth.db")) as auth:
        (found,) = auth.execute("SELECT version_num FROM schema_migrations").fetchone()
    assert found > "0005", "auth is unchanged as well"
