"""`gatehouse events …`: dead letters of a real service's database, and the catalogue."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from contracts.events import AccountDeleted
from gatehouse import catalogue, cli
from services.orders.models import EVENTS
from services.orders.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.events import Poison, dead
from shared.events.event import Envelope, Sealed
from shared.events.inbox import Inbox
from shared.ids import new_id
from shared.testing import TEST_INTERNAL_SECRET

ROOT = Path(catalogue.__file__).parent.parent
Run = Callable[..., tuple[int, str]]


class Orders:
    """The inbox of the orders service, with a consumer that fails until it is fixed."""

    def __init__(self, database_url: str) -> None:
        self._database = Database(database_url)
        self._inbox = Inbox(EVENTS, self._database, {AccountDeleted: self._consume})
        self.is_broken = True
        self.applied: list[str] = []

    def _consume(self, _session: Any, events: Sequence[AccountDeleted]) -> None:
        if self.is_broken:
            raise Poison("there is no such warehouse")
        self.applied += [event.envelope.id for event in events]

    def receive(self, number: int, account: str | None = None) -> list[str]:
        """Receive events of one account; return their ids."""
        account = account or new_id()
        bodies = [
            Sealed("auth", AccountDeleted(account_id=account, deleted=now())).body for _ in range(number)
        ]
        envelopes = [Envelope.model_validate_json(body) for body in bodies]
        for one in envelopes:
            self._inbox.receive([one])
        return [one.id for one in envelopes]

    def work(self) -> None:
        while self._inbox.retry_next():
            pass

    def close(self) -> None:
        self._database.close()


@pytest.fixture
def orders(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orders]:
    upgrade(database_url, Settings.migrations())
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("INTERNAL_SECRET", TEST_INTERNAL_SECRET)
    monkeypatch.setenv("ORDERS_DATABASE_URL", database_url)
    opened = Orders(database_url)
    yield opened
    opened.close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()  # what the inbox has logged
        try:
            code = cli.main(["events", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def listed(run: Run) -> list[dict[str, Any]]:
    letters: list[dict[str, Any]] = json.loads(run("dead", "--json")[1])
    return letters


def test_dead_letters_are_listed_with_the_reason(orders: Orders, run: Run) -> None:
    first, second = orders.receive(2)

    (one, two) = listed(run)
    assert (one["id"], two["id"]) == (first, second)
    assert (
        one.items()
        >= {
            "service": "orders",
            "topic": "account.deleted",
            "attempts": 1,
            "reason": "there is no such warehouse",
        }.items()
    )
    code, table = run("dead", "orders")
    assert code == 0
    assert first in table
    assert "0 min  there is no such warehouse" in table
    assert run("dead", "users") == (0, "no dead letters\n")


def test_dead_letter_is_shown_with_its_event(orders: Orders, run: Run) -> None:
    (letter,) = orders.receive(1)
    code, shown = run("show", "orders", letter)

    assert code == 0
    assert json.loads(shown)["event"]["data"].keys() == {"account_id", "deleted"}


def test_replayed_events_are_applied_in_order_of_arrival(orders: Orders, run: Run) -> None:
    ids, others = orders.receive(3), orders.receive(1)
    orders.is_broken = False
    orders.work()
    assert orders.applied == []
    assert run("replay", "orders", *reversed(ids)) == (0, "orders: 3 to be retried\n")
    orders.work()

    assert orders.applied == ids
    assert [one["id"] for one in listed(run)] == others


def test_replay_of_all_includes_more_than_one_batch(
    orders: Orders, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "LISTED_MAX", 2)
    ids = orders.receive(5)
    orders.is_broken = False
    assert run("replay", "orders", "--all") == (0, "orders: 5 to be retried\n")
    orders.work()

    assert orders.applied == ids


def test_replay_of_all_ends_even_if_the_service_gives_up_every_event_again(
    orders: Orders, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead, "LISTED_MAX", 2)
    # As if each were dead again at once.
    monkeypatch.setattr(dead.DeadLetters, "replay", lambda _letters, _session, found: found)
    orders.receive(5)

    assert run("replay", "orders", "--all") == (0, "orders: 5 to be retried\n")


def test_later_event_waits_for_a_replayed_one(orders: Orders, run: Run) -> None:
    account = new_id()
    (letter,) = orders.receive(1, account)
    orders.is_broken = False
    run("replay", "orders", "--all")
    (later,) = orders.receive(1, account)
    assert orders.applied == []
    orders.work()

    assert orders.applied == [letter, later]


def test_dropped_events_are_never_applied(orders: Orders, run: Run) -> None:
    first, second = orders.receive(2)
    assert run("drop", "orders", first) == (0, "orders: 1 deleted\n")
    orders.is_broken = False
    orders.work()

    assert orders.applied == []
    assert [one["id"] for one in listed(run)] == [second]


@pytest.mark.parametrize("command", ["show", "replay", "drop"])
def test_unknown_id_is_refused_and_changes_nothing(orders: Orders, run: Run, command: str) -> None:
    (there,) = orders.receive(1)
    missing = new_id()
    ids = [missing] if command == "show" else [there, missing]
    code, said = run(command, "orders", *ids)

    assert code == 1
    assert said == f"no dead letter {missing}; `gatehouse events dead` lists them\n"
    assert [one["id"] for one in listed(run)] == [there]
    orders.is_broken = False
    orders.work()
    assert orders.applied == []


@pytest.mark.parametrize("arguments", [(), ("x", "--all")])
def test_replay_requires_either_ids_or_all(orders: Orders, run: Run, arguments: tuple[str, ...]) -> None:
    assert run("replay", "orders", *arguments) == (1, "give one or more ids, or --all\n")
    assert listed(run) == []


def test_service_without_a_database_has_no_dead_letters(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    assert run("dead") == (0, "no dead letters\n")
    code, said = run("replay", "orders", "--all")
    assert code == 1
    assert said == "orders has no event tables yet: start it, or run `gatehouse migrate`\n"
    assert not (tmp_path / "orders.db").exists()


def test_unreachable_database_is_reported_without_its_password(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ORDERS_DATABASE_URL", "postgresql://orders:hidden@127.0.0.1:9/orders")
    code, said = run("dead", "orders")

    assert code == 1
    assert said.startswith("orders: cannot use postgresql://orders:***@127.0.0.1:9/orders: ")


def test_command_works_in_the_image_of_one_service(tmp_path: Path) -> None:
    """The image contains no other program, so DATABASE_URL needs no prefix."""
    for folder in ("contracts", "gatehouse", "shared", "services/orders"):
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / "app" / folder, ignore=left_out)
    shutil.copy(ROOT / "services" / "__init__.py", tmp_path / "app" / "services")
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    upgrade(url, Settings.migrations())
    orders = Orders(url)
    (letter,) = orders.receive(1)
    orders.close()
    own = {"DATABASE_URL": url, "INTERNAL_SECRET": TEST_INTERNAL_SECRET, "DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "gatehouse", "events", "dead"]
    said = subprocess.run(
        command, cwd=tmp_path / "app", env=own, capture_output=True, text=True, timeout=60, check=False
    )

    assert letter in said.stdout, said.stderr


class TestCatalogue:
    def test_catalogue_equals_the_contracts_readme(self, run: Run) -> None:
        kept = (ROOT / "contracts" / "README.md").read_text()

        code, printed = run("catalogue")

        assert code == 0
        assert printed.endswith(kept)  # an earlier test's relay may still log before it

    def test_catalogue_names_senders_and_receivers(self) -> None:
        text = catalogue.text()

        assert (
            "| `account.deleted` | auth | users, orders, files, terminal, audit, inventory, support, "
            "notifications |"
        ) in text
        assert "| `action.recorded` | every service | audit |" in text
        assert "| `sha256` | text |" in text
        assert "| `status_before` | text |" in text
