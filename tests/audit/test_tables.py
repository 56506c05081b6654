"""Views and policies in place of the tables can hide a record from lists, but not from a check."""

import pytest

from services.audit.tables import odd_tables
from tests.audit.attacks import JANUARY
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
    "records_2026_01 has a constraint never that the service did not create": [
        "ALTER TABLE partitions.records_2026_01 ADD CONSTRAINT never CHECK (action <> 'FILE_UPLOAD')",
    ],
    "records_2026_01 has an index further that the service did not create": [
        "CREATE INDEX further ON partitions.records_2026_01 (action, id, seq)",
    ],
    "records has an index ix_records_id that is not as the service created it": [
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_records_id'::regclass",
    ],
    "personal is a table with rules": ["CREATE RULE ignoring AS ON UPDATE TO personal DO INSTEAD NOTHING"],
}
ON_SQLITE = {
    "records is a view": [_RENAMED, "CREATE VIEW records AS SELECT * FROM real_records"],
    "horizon is a virtual table": [
        "ALTER TABLE horizon RENAME TO real_horizon",
        "CREATE VIRTUAL TABLE horizon USING rtree_i32(id, kept_from, at_most)",
        "INSERT INTO horizon VALUES (1, 0, 0)",
    ],
    "personal has an index sqlite_autoindex_personal_1 that the service did not create": [
        "ALTER TABLE personal RENAME TO real_personal",
        (
            "CREATE TABLE personal (seq INTEGER PRIMARY KEY DESC, received, ip, user_agent, origin_salt,"
            " origin_erased_by, metadata, details_salt, details_erased_by)"
        ),
        "INSERT INTO personal SELECT * FROM real_personal",
    ],
    "checkpoints is a view": [
        "ALTER TABLE checkpoints RENAME TO real_checkpoints",
        "CREATE VIEW checkpoints AS SELECT * FROM real_checkpoints",
    ],
}


@pytest.fixture
def signed(log: Log) -> Log:
    log.prepare_month(JANUARY)
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


def test_partition_that_is_elsewhere_is_named(signed: Log) -> None:
    """A view there could answer lists and checks differently."""
    if signed.database.is_sqlite:
        pytest.skip("SQLite has no partitions")
    signed.tamper(
        "ALTER TABLE records DROP CONSTRAINT records_pkey",  # which would prevent it
        "CREATE FOREIGN DATA WRAPPER elsewhere",
        "CREATE SERVER other FOREIGN DATA WRAPPER elsewhere",
        "CREATE FOREIGN TABLE partitions.records_2031_01 PARTITION OF records"
        " FOR VALUES FROM ('2031-01-01') TO ('2031-02-01') SERVER other",
    )
    with signed.database.transaction(write=False) as session:
        found = list(odd_tables(session))
    signed.tamper("DROP FOREIGN DATA WRAPPER elsewhere CASCADE")

    assert found == ["the partition records_2031_01 is not a table"]


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
