"""Views and policies in place of the tables can hide a record from lists, but not from a check."""

import pytest

from tests.audit.support import Log

_HIDDEN = "seq <> 1 OR position('ORDER BY records.id' IN current_query()) = 0"
_RENAMED = "ALTER TABLE records RENAME TO real_records"
ON_POSTGRESQL = {
    "records is not a table": [
        _RENAMED,
        f"CREATE VIEW records AS SELECT * FROM real_records WHERE {_HIDDEN}",
    ],
    "records is a table with others below it": [
        _RENAMED,
        "CREATE TABLE records AS SELECT * FROM real_records WHERE seq <> 1",
        "CREATE TABLE moved () INHERITS (records)",
        "INSERT INTO moved SELECT * FROM real_records WHERE seq = 1",
    ],
    "records is a table with row security": [
        "ALTER TABLE records ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY hiding ON records USING ({_HIDDEN})",
    ],
    "personal is a table with rules": ["CREATE RULE ignoring AS ON UPDATE TO personal DO INSTEAD NOTHING"],
}
ON_SQLITE = {
    "records is a view": [_RENAMED, "CREATE VIEW records AS SELECT * FROM real_records"],
    "checkpoints is a view": [
        "ALTER TABLE checkpoints RENAME TO real_checkpoints",
        "CREATE VIEW checkpoints AS SELECT * FROM real_checkpoints",
    ],
}


@pytest.fixture
def signed(log: Log) -> Log:
    log.fill(3)
    log.sign()
    return log


def test_tables_of_the_service_are_as_they_were_created(signed: Log) -> None:
    assert signed.verify().verification.unproven == []


@pytest.mark.parametrize("what", [*ON_POSTGRESQL, *ON_SQLITE])
def test_what_may_hide_records_from_lists_is_unproven(signed: Log, what: str) -> None:
    attacks = ON_SQLITE if signed.database.is_sqlite else ON_POSTGRESQL
    if what not in attacks:
        pytest.skip("it is for the other database")
    signed.tamper(*attacks[what])
    found = signed.verify().verification

    assert found.faults == []
    assert [one.detail for one in found.unproven] == [f"lists may hide records or show others: {what}"]


def test_operator_that_another_schema_replaces_is_unproven(signed: Log) -> None:
    """Lists compare accounts with it; a check compares positions."""
    if signed.database.is_sqlite:
        pytest.skip("SQLite has no schemas")
    name = signed.database.url.database
    try:
        signed.tamper(
            "CREATE SCHEMA forged", f'ALTER DATABASE "{name}" SET search_path = forged, pg_catalog, public'
        )
        signed.database.engine.dispose()
        found = signed.verify().verification
    finally:
        signed.tamper(f'ALTER DATABASE "{name}" RESET search_path', "DROP SCHEMA forged")
        signed.database.engine.dispose()

    assert found.faults == []
    assert [one.detail for one in found.unproven] == [
        "lists may hide records or show others: the search path begins with the schema forged"
    ]
