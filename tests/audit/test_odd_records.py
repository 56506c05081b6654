"""Well-formed records that the owner of the database appends, with values that the log never writes."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from services.audit.log import grow, rfc3339, size_of
from services.audit.models import PERSONAL, RECORDS
from services.audit.proofs import commitment, is_time, leaf_of, origin_text
from services.audit.verifier import main
from shared.clock import now
from tests.audit.attacks import actions, by_service, by_verifier
from tests.audit.support import BOB, Log, entry
from tests.audit.test_unreadable_records import append_with

NO_TIMES = {
    "timestamp": ["yesterday+00:00", "99999-01-01T00:00:00.000000+00:00", "{today}T00:00:00+00:00"],
    "received": ["{today}T99:00:00.000000+00:00"],
}
# Each is committed to as it is, but has another form, or none, once a program has read it.
METADATA = [
    '{"a": 1}',
    '{"a":1,"a":2}',
    '{"a":1.0}',
    '{"a":9007199254740993}',
    '{"a":"\\ud800"}',
    '{"a":NaN}',
    "{",
]


def append_row(log: Log, **changes: Any) -> None:
    """Append a record as the owner of a SQLite database can, with the right hash in the tree."""
    moment = now().isoformat(timespec="microseconds")
    row = vars_of(entry(BOB)) | {"received": moment, "timestamp": moment, "metadata": "{}"} | changes
    row |= {"origin_salt": "0" * 32, "details_salt": "1" * 32}
    row["origin"] = commitment(row["origin_salt"], origin_text(row))
    row["details"] = commitment(row["details_salt"], row["metadata"])
    with log.database.transaction() as session:
        row["seq"] = size_of(session)
        for table in (RECORDS, PERSONAL):
            names = [column.name for column in table.c if column.name in row]
            places = ", ".join(f":{name}" for name in names)
            session.connection().execute(
                text(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})"), row
            )
        written = {name: row[name].replace("+00:00", "Z") for name in ("received", "timestamp")}
        grow(session, [leaf_of(row | written).digest()])
    log.sign()


def vars_of(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}


@pytest.mark.parametrize(("name", "value"), [(name, one) for name, some in NO_TIMES.items() for one in some])
def test_time_that_no_log_writes_is_reported_and_stops_no_records(
    sqlite_log: Log, name: str, value: str
) -> None:
    """Lists failed, and every later record became a dead event, while the service reported an intact log."""
    sqlite_log.add(entry(BOB))
    append_row(sqlite_log, **{name: value.format(today=now().date())})
    sqlite_log.add(entry(BOB))

    assert len(actions(sqlite_log)) == 3
    assert [one.kind for one in sqlite_log.check(sqlite_log.lines()).faults][:1] == ["malformed"]
    assert by_service(sqlite_log) == "tampered"


def test_times_of_the_log_are_times() -> None:
    assert is_time(rfc3339(now()))
    assert not any(map(is_time, ["", "2026-02-30T00:00:00.000000Z", "2026-01-01T00:00:00.00000\u0660Z"]))


@pytest.mark.parametrize("metadata", METADATA)
def test_metadata_of_another_form_is_reported_by_both_checks(log: Log, tmp_path: Path, metadata: str) -> None:
    """The verifier called it changed, or the export ended in the middle, and the service found it intact."""
    log.add(entry(BOB))
    append_with(log, metadata)
    (tmp_path / "export").write_bytes(b"".join(log.lines()))

    assert (by_service(log), by_verifier(log)) == ("tampered", "tampered")
    assert main([str(tmp_path / "export"), "--key", log.keys[0].text]) == 1


@pytest.mark.parametrize("odd", ["~", "", "0198C0DE-5F00-7A10-8000-3F2B8C1DE04A"])
def test_id_after_which_no_list_continues_is_not_proven(log: Log, odd: str) -> None:
    log.add(entry(BOB))
    log.add(entry(BOB, id=odd))
    found = log.verify().verification

    assert found.faults == []
    assert [one[:2] for one in found.unproven] == [("unproven", 1)]
    assert "no list can continue after its id" in found.unproven[0].detail


def test_id_of_another_record_is_not_proven(log: Log) -> None:
    """A list continues after the id of its last record, and would skip the other one."""
    one = entry(BOB)
    log.add(one, entry(BOB))
    log.add(entry(BOB, id=one.id))
    found = log.verify().verification

    assert found.faults == []
    assert [f"several records have the id {one.id}" in two.detail for two in found.unproven] == [True]
