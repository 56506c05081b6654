"""Views and policies in place of the tables can hide a record from lists, but not from a check."""

from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy.engine import make_url

from services.audit.settings import Settings
from services.audit.tables import odd_tables
from tests import connections
from tests.audit.attacks import JANUARY
from tests.audit.support import TEST_KEY_SECRET, Log

_HIDDEN = "seq <> 1 OR position('ORDER BY records.id' IN current_query()) = 0"
_RENAMED = "ALTER TABLE records RENAME TO real_records"
_ON_INSERT = "CREATE FUNCTION doing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
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
    "there is an operator = beside that of PostgreSQL": [
        (
            "CREATE FUNCTION hiding(text, varchar) RETURNS boolean LANGUAGE sql IMMUTABLE"
            " AS $$ SELECT $1 = $2::text AND false $$"
        ),
        "CREATE OPERATOR = (LEFTARG = text, RIGHTARG = varchar, FUNCTION = hiding)",
    ],
    "there is a function length beside that of PostgreSQL": [
        "CREATE FUNCTION length(varchar) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT 1 $$",
    ],
    "there is an operator class backwards beside that of PostgreSQL": [
        (
            "CREATE FUNCTION after(varchar, varchar) RETURNS boolean LANGUAGE sql IMMUTABLE"
            " AS $$ SELECT $1::text > $2::text $$"
        ),
        "CREATE OPERATOR <<< (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = after)",
        (
            "CREATE FUNCTION compare_backwards(varchar, varchar) RETURNS int LANGUAGE sql IMMUTABLE"
            " AS $$ SELECT bttextcmp($2::text, $1::text) $$"
        ),
        (
            "CREATE OPERATOR CLASS backwards DEFAULT FOR TYPE varchar USING btree"
            " AS OPERATOR 1 <<<, FUNCTION 1 compare_backwards(varchar, varchar)"
        ),
    ],
    "the column user_id of records has a type or a collation that the service did not choose": [
        "CREATE DOMAIN odd_text AS text",
        "ALTER TABLE records ALTER COLUMN user_id TYPE odd_text",
    ],
    "the column id of records has a type or a collation that the service did not choose": [
        "CREATE COLLATION odd (provider = icu, locale = 'en-u-kr-latn-digit')",
        "ALTER TABLE records ALTER COLUMN id TYPE varchar(36) COLLATE odd",
    ],
    "inbox has a trigger records_refuse_update that the service did not create": [
        _ON_INSERT,
        "CREATE TRIGGER records_refuse_update BEFORE INSERT ON inbox EXECUTE FUNCTION doing()",
    ],
    "records has a trigger records_refuse_update that the service did not create": [
        _ON_INSERT,
        "DROP TRIGGER records_refuse_update ON records",
        "CREATE TRIGGER records_refuse_update BEFORE INSERT ON records EXECUTE FUNCTION doing()",
    ],
    "personal_2026_01 has a trigger doing that the service did not create": [
        _ON_INSERT,
        "CREATE TRIGGER doing BEFORE INSERT ON partitions.personal_2026_01 EXECUTE FUNCTION doing()",
    ],
    "inbox is a table with rules": ["CREATE RULE ignoring AS ON INSERT TO inbox DO INSTEAD NOTHING"],
    "erasures is not a table": [
        "ALTER TABLE erasures RENAME TO real_erasures",
        "CREATE VIEW erasures AS SELECT * FROM real_erasures WHERE account_id IS NULL",
    ],
    "records has a column odd that the service did not create": [
        "ALTER TABLE records ADD COLUMN odd int GENERATED ALWAYS AS (1 / (seq + 1)) STORED",
    ],
    "personal has a trigger personal_refuse_update that the service did not create": [
        (
            "CREATE OR REPLACE FUNCTION refuse_emptying() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN RETURN OLD; END $$"
        ),
    ],
    "personal is a table with rules": ["CREATE RULE ignoring AS ON UPDATE TO personal DO INSTEAD NOTHING"],
    "personal_2026_01 has a constraint never that the service did not create": [
        # A check that asks with this function sees no table at all.
        "CREATE FUNCTION unnest(oid[]) RETURNS SETOF oid LANGUAGE sql AS 'SELECT NULL::oid WHERE false'",
        "ALTER TABLE partitions.personal_2026_01 ADD CONSTRAINT never CHECK (ip IS NULL)",
    ],
    "tiles has a trigger tiles_refuse_update that the service did not create": [
        (
            "CREATE FUNCTION doing() RETURNS boolean LANGUAGE plpgsql"
            " AS $$ BEGIN UPDATE holds SET reason = ''; RETURN false; END $$"
        ),
        "DROP TRIGGER tiles_refuse_update ON tiles",
        (
            "CREATE TRIGGER tiles_refuse_update BEFORE UPDATE ON tiles FOR EACH ROW WHEN (doing())"
            " EXECUTE FUNCTION refuse_change()"
        ),
    ],
    "horizon has a trigger horizon_refuse_update that the service did not create": [
        "DROP TRIGGER horizon_refuse_update ON horizon",
        (
            "CREATE TRIGGER horizon_refuse_update BEFORE UPDATE ON horizon FOR EACH ROW WHEN"
            " (query_to_xml('SELECT doing()', false, false, '') IS NULL) EXECUTE FUNCTION refuse_change()"
        ),
    ],
    "checkpoints has a trigger checkpoints_refuse_update that the service did not create": [
        "CREATE DOMAIN doing AS int CHECK (VALUE > 0)",
        "DROP TRIGGER checkpoints_refuse_update ON checkpoints",
        (
            "CREATE TRIGGER checkpoints_refuse_update BEFORE UPDATE ON checkpoints FOR EACH ROW"
            " WHEN (NEW.size::int::doing IS NULL) EXECUTE FUNCTION refuse_change()"
        ),
    ],
    "inbox has an index once that the service did not create": [
        "CREATE UNIQUE INDEX once ON inbox ((id IS NOT NULL))"
    ],
    "inbox has an index ix_inbox_received that is not as the service created it": [
        "DROP INDEX ix_inbox_received",
        "CREATE UNIQUE INDEX ix_inbox_received ON inbox (received)",
    ],
    "holds has a constraint end_of_hold that the service did not create": [
        (
            "ALTER TABLE holds ADD CONSTRAINT end_of_hold FOREIGN KEY (user_id)"
            " REFERENCES erasures (account_id) ON DELETE CASCADE"
        ),
    ],
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
            "CREATE TABLE personal (seq INTEGER PRIMARY KEY DESC, received VARCHAR(32), ip TEXT,"
            " user_agent TEXT, origin_salt VARCHAR(32), origin_erased_by BIGINT, metadata TEXT,"
            " details_salt VARCHAR(32), details_erased_by BIGINT)"
        ),
        "INSERT INTO personal SELECT * FROM real_personal",
    ],
    "inbox has a trigger doing that the service did not create": [
        "CREATE TRIGGER doing BEFORE INSERT ON inbox BEGIN SELECT RAISE(IGNORE); END"
    ],
    "inbox is not as the service created it": [
        "DROP TABLE inbox",
        (
            "CREATE TABLE inbox (id VARCHAR(36) NOT NULL PRIMARY KEY,"
            " received VARCHAR(32) NOT NULL ON CONFLICT IGNORE)"
        ),
    ],
    "parked is not as the service created it": ["ALTER TABLE parked ADD COLUMN odd AS (1 / seq)"],
    "erasures is a view": [
        "ALTER TABLE erasures RENAME TO real_erasures",
        "CREATE VIEW erasures AS SELECT * FROM real_erasures WHERE account_id IS NULL",
    ],
    "inbox has a trigger records_refuse_update that the service did not create": [
        "CREATE TRIGGER records_refuse_update BEFORE INSERT ON inbox BEGIN SELECT RAISE(IGNORE); END"
    ],
    "personal has a trigger personal_refuse_update that the service did not create": [
        (
            "CREATE TRIGGER personal_refuse_update BEFORE UPDATE ON personal WHEN NOT (0)"
            " BEGIN SELECT RAISE(IGNORE); END"
        )
    ],
    "tiles has a trigger tiles_refuse_update that the service did not create": [
        (
            "CREATE TRIGGER tiles_refuse_update BEFORE UPDATE ON tiles WHEN NOT (RAISE(IGNORE))"
            " BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
    ],
    "holds is missing under its own name": [
        "ALTER TABLE holds RENAME TO real_holds",
        "CREATE VIEW Holds AS SELECT * FROM real_holds WHERE reason <> 'x'",
    ],
    "holds is not as the service created it": [
        "DROP TABLE holds",
        "CREATE TABLE holds (user_id NUMERIC NOT NULL PRIMARY KEY, reason VARCHAR(500), created VARCHAR(32))",
    ],
    "erasures is not as the service created it": [
        "DROP TABLE erasures",
        (
            "CREATE TABLE erasures (account_id VARCHAR(36) NOT NULL PRIMARY KEY REFERENCES inbox ON DELETE"
            " CASCADE, since VARCHAR(32), done_to BIGINT)"
        ),
    ],
    "inbox has an index once that the service did not create": [
        "CREATE UNIQUE INDEX once ON inbox ((id IS NOT NULL))"
    ],
    "inbox has an index ix_inbox_received that is not as the service created it": [
        "DROP INDEX ix_inbox_received",
        "CREATE UNIQUE INDEX ix_inbox_received ON inbox (received)",
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


def test_guards_of_the_service_are_known(signed: Log) -> None:
    """All other tests drop them on SQLite, or switch them off."""
    with signed.database.transaction(write=False) as session:
        assert list(odd_tables(session)) == []


def test_guard_that_looks_elsewhere_is_unproven(signed: Log) -> None:
    """Its function reads `records`, which could be a view that does something."""
    if signed.database.is_sqlite:
        pytest.skip("SQLite has no search path")
    signed.tamper("ALTER FUNCTION refuse_emptying() SET search_path = elsewhere, public")
    found = signed.verify().verification

    what = "personal has a trigger personal_refuse_update that the service did not create"
    assert [one.detail for one in found.unproven] == [f"lists may hide records or show others: {what}"]


def test_event_trigger_is_unproven(signed: Log) -> None:
    """It runs in the sessions of the service, when a partition is created or dropped."""
    if signed.database.is_sqlite:
        pytest.skip("SQLite has no event triggers")
    doing = "CREATE FUNCTION doing() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$"
    try:
        signed.tamper(doing, "CREATE EVENT TRIGGER doing ON ddl_command_end EXECUTE FUNCTION doing()")
        found = signed.verify().verification
    finally:
        signed.tamper("DROP EVENT TRIGGER IF EXISTS doing")

    what = "the database has an event trigger doing that the service did not create"
    assert [one.detail for one in found.unproven] == [f"lists may hide records or show others: {what}"]


def test_search_path_of_the_session_is_kept(signed: Log) -> None:
    """The check looks for functions only in PostgreSQL's own schema; later queries need the service's."""
    if signed.database.is_sqlite:
        pytest.skip("SQLite has no search path")
    with signed.database.transaction(write=False) as session:
        before = session.connection().exec_driver_sql("SHOW search_path").scalar_one()
        assert list(odd_tables(session)) == []
        assert session.connection().exec_driver_sql("SHOW search_path").scalar_one() == before


def test_database_that_sorts_letters_before_digits_is_named(
    postgresql_server: str, make_settings: Callable[..., Settings]
) -> None:
    """Lists by time begin and end at an id, which Python compares with others by its characters."""
    locale = "LOCALE_PROVIDER icu ICU_LOCALE 'en-u-kr-latn-digit' LOCALE 'C'"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE odd_order TEMPLATE template0 ENCODING 'UTF8' {locale}")
        try:
            url = make_url(postgresql_server).set(database="odd_order").render_as_string(hide_password=False)
            made = make_settings(Settings, database_url=url, key_secret=TEST_KEY_SECRET)
            with Log(made) as log, log.database.transaction(write=False) as session:
                found = list(odd_tables(session))
        finally:
            connection.execute("DROP DATABASE odd_order WITH (FORCE)")

    assert found == ["the database has a locale with rules of its own: en-u-kr-latn-digit"]


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


def test_temporary_view_in_another_session_is_unproven(signed: Log) -> None:
    """A trigger can create the view in a session of the service: lists there read it, a check does not."""
    if signed.database.is_sqlite:
        pytest.skip("SQLite has no sessions")
    with signed.database.engine.connect() as other:
        other.exec_driver_sql("CREATE TEMPORARY VIEW records AS SELECT * FROM public.records WHERE seq <> 1")
        seen = other.exec_driver_sql("SELECT seq FROM records ORDER BY seq").scalars().all()
        other.commit()
        found = signed.verify().verification

    assert (seen, found.faults) == ([0, 2], [])
    assert [one.detail for one in found.unproven] == [
        "lists may hide records or show others: a session has a temporary records"
    ]


def test_operator_that_another_schema_replaces_is_unproven(signed: Log) -> None:
    """Lists compare accounts with it; a check compares positions."""
    if signed.database.is_sqlite:
        pytest.skip("SQLite has no schemas")
    name = signed.database.url.database
    try:
        signed.tamper(
            "CREATE SCHEMA forged", f'ALTER DATABASE "{name}" SET search_path = forged, pg_catalog, public'
        )
        open_new_sessions(signed)
        found = signed.verify().verification
    finally:
        signed.tamper(f'ALTER DATABASE "{name}" RESET search_path', "DROP SCHEMA forged")
        open_new_sessions(signed)

    assert found.faults == []
    assert [one.detail for one in found.unproven] == [
        "lists may hide records or show others: the search path begins with the schema forged"
    ]


def open_new_sessions(log: Log) -> None:
    """Let the changed setting of the database apply: sessions keep the one with which they began."""
    log.database.engine.dispose()
    connections.end_free_ones(str(log.database.url))
