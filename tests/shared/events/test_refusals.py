"""Anonymous callers cannot flood the audit log with refusals; an attack is still recorded with its counts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from shared.data.database import Database
from shared.events.event import Envelope
from shared.events.recorded import Recorded
from shared.events.refusals import KEYS_MAX, OTHERS, WINDOW_SECONDS, Refusals, network_of
from shared.ids import new_id
from shared.testing import bearer, running, token
from tests.shared.notes.app import Settings, create_app
from tests.shared.notes.models import EVENTS

START = datetime(2026, 3, 1, tzinfo=UTC)


def refusal(number: int = 0, **changes: Any) -> Recorded:
    values: dict[str, Any] = {
        "user_id": None,
        "actor": "anonymous",
        "action": "SHOW_FILE",
        "resource": f"file-{number}",
        "ip": "192.0.2.7",
        "user_agent": "scanner",
        "metadata": {"reason": "unknown"},
        "timestamp": START + timedelta(seconds=number / 100),
        "outcome": "refused",
        "status": 404,
        "service": "files",
        "request_id": None,
        "trace_id": None,
    }
    return Recorded(**values | changes)


def test_a_hundred_refusals_a_second_leave_two_records_a_minute() -> None:
    refusals = Refusals()
    written = [one for number in range(6000) if not refusals.counts(one := refusal(number), number / 100)]
    assert [one.resource for one in written] == ["file-0"]
    assert refusals.due(WINDOW_SECONDS - 0.01) == []

    (summary,) = refusals.due(WINDOW_SECONDS)
    assert summary.resource == "file-5999"
    assert summary.metadata == {
        "reason": "unknown",
        "repeated": {
            "count": 5999,
            "first": "2026-03-01T00:00:00.010Z",
            "last": "2026-03-01T00:00:59.990Z",
            "network": "192.0.2.0/24",
        },
    }


def test_repeated_refusals_are_counted_per_minute_until_they_stop() -> None:
    refusals = Refusals()
    assert not refusals.counts(refusal(), 0)
    assert refusals.counts(refusal(1), 1)
    assert len(refusals.due(60)) == 1
    assert refusals.counts(refusal(2), 61)
    assert [one.metadata["repeated"]["count"] for one in refusals.due(120)] == [1]
    assert refusals.due(180) == []

    assert not refusals.counts(refusal(3), 181)


@pytest.mark.parametrize(
    "changes",
    [{"action": "LOGIN"}, {"status": 401}, {"user_id": new_id()}, {"ip": "192.0.3.7"}, {"ip": "2001:db8::1"}],
)
def test_another_action_status_account_or_network_is_recorded_separately(changes: dict[str, Any]) -> None:
    refusals = Refusals()
    assert not refusals.counts(refusal(), 0)

    assert not refusals.counts(refusal(**changes), 0)
    assert refusals.counts(refusal(**changes), 0)


@pytest.mark.parametrize("changes", [{"actor": "user:x"}, {"actor": "service:users"}, {"outcome": "success"}])
def test_known_callers_and_successes_are_recorded_each_time(changes: dict[str, Any]) -> None:
    refusals = Refusals()

    assert not any(refusals.counts(refusal(**changes), 0) for _ in range(10))
    assert refusals.due(1e9) == []


def test_memory_is_limited_with_any_number_of_networks() -> None:
    refusals = Refusals()
    addresses = [f"10.{number >> 8}.{number & 255}.1" for number in range(KEYS_MAX + 500)]
    written = [
        ip for ip in addresses for _ in range(2) if not refusals.counts(refusal(ip=ip, user_id="x"), 0)
    ]
    assert len(written) == KEYS_MAX + 1

    found = {one.metadata["repeated"]["network"]: one for one in refusals.due(WINDOW_SECONDS)}
    assert len(found) == KEYS_MAX + 1
    assert found[OTHERS].metadata["repeated"]["count"] == 2 * 500 - 1
    assert found[OTHERS].user_id is None, "they tried several accounts"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.200", "192.0.2.0/24"),
        ("::ffff:192.0.2.200", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, None),
    ],
)
def test_addresses_of_one_network_count_as_one_caller(address: str | None, network: str | None) -> None:
    assert network_of(address) == network


async def test_counts_are_recorded_when_the_service_stops(
    make_settings: Callable[..., Any], tmp_path: Path, database_url: str
) -> None:
    settings: Settings = make_settings(Settings, gate=tmp_path / "gate", database_url=database_url)
    async with running(create_app, settings) as notes:
        for _ in range(50):
            assert (await notes.delete(f"/notes/{new_id()}")).status_code == 401
        for _ in range(3):
            await notes.delete(f"/notes/{new_id()}", headers=bearer(token()))
    database = Database(settings.database_url)
    with database.transaction(write=False) as session:
        bodies = session.connection().execute(select(EVENTS.outbox.c.body).order_by(EVENTS.outbox.c.seq))
        kept = [Envelope.model_validate_json(body).data for body in bodies.scalars()]
    database.close()
    strangers = [one["metadata"] for one in kept if one["actor"] == "anonymous"]

    assert len(kept) == 5
    assert strangers[0] == {}
    assert strangers[1]["repeated"]["count"] == 49
