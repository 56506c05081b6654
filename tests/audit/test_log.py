"""Writing the log: every record has a position, and none can be changed."""

import json
import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from services.audit.checkpoints import Checkpoints
from services.audit.log import append, size_of, tree_of
from services.audit.models import CHECKPOINTS, PERSONAL, RECORDS, TILES
from services.audit.queries import EVERYTHING
from shared.ids import new_id
from tests.audit.support import ALICE, Log, entry


def rows(log: Log) -> list[Any]:
    with log.database.transaction(write=False) as session:
        return list(session.connection().execute(EVERYTHING.order_by(RECORDS.c.seq)))


class TestAppend:
    def test_record_keeps_all_fields_of_the_entry(self, log: Log) -> None:
        given_entry = entry(timestamp=datetime(2025, 10, 15, 12, 35, tzinfo=timezone(timedelta(hours=2))))
        assert log.add(given_entry) == 0

        (row,) = rows(log)
        assert row.id == given_entry.id
        assert row.user_id == ALICE
        assert row.timestamp == datetime(2025, 10, 15, 10, 35, tzinfo=UTC)
        assert json.loads(row.metadata) == given_entry.metadata
        for name in "actor action resource ip user_agent outcome status service request_id trace_id".split():
            assert getattr(row, name) == getattr(given_entry, name), name

    def test_concurrent_appends_get_positions_without_gaps(self, log: Log) -> None:
        def write() -> None:
            for _ in range(10):
                log.add(*(entry() for _ in range(7)))

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [row.seq for row in rows(log)] == list(range(280))
        log.sign()
        assert log.faults() == []

    def test_failed_batch_leaves_no_record(self, log: Log) -> None:
        log.fill(3)
        with pytest.raises(InterruptedError):
            append_and_fail(log)

        assert len(rows(log)) == 3
        with log.database.transaction(write=False) as session:
            assert size_of(session) == 3
        log.fill(1)
        assert log.faults() == []

    def test_received_time_does_not_go_backwards_with_the_clock(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log.fill(1)
        (first,) = rows(log)
        monkeypatch.setattr("services.audit.log.now", lambda: first.received - timedelta(seconds=5))
        log.fill(1)

        assert rows(log)[1].received == first.received

    @settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
            st.recursive(
                st.one_of(
                    st.none(),
                    st.booleans(),
                    st.integers(),
                    st.floats(),
                    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
                ),
                lambda inner: st.lists(inner, max_size=3),
                max_leaves=5,
            ),
            max_size=4,
        )
    )
    def test_any_metadata_can_be_stored_and_verified(self, sqlite_log: Log, metadata: dict[str, Any]) -> None:
        sqlite_log.add(entry(metadata=metadata))

        assert sqlite_log.faults() == []

    def test_values_that_parsers_disagree_on_are_stored_as_strings(self, log: Log) -> None:
        deep: Any = "end"
        for _ in range(200):
            deep = [deep]
        log.add(entry(user_agent="a\x00b", metadata={"a\x00b": "\x00", "deep": deep, "large": 2**64}))

        (row,) = rows(log)
        assert row.user_agent == "a\ufffdb"
        assert json.loads(row.metadata)["large"] == str(2**64)
        assert log.faults() == []


def append_and_fail(log: Log) -> None:
    with log.database.transaction() as session:
        append(session, [entry(), entry()])
        raise InterruptedError


class TestAppendOnly:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE records SET action = 'NOTHING'",
            "UPDATE records SET seq = seq + 10",
            "DELETE FROM records",
            "DELETE FROM records WHERE seq = 2",
            "UPDATE personal SET ip = '192.0.2.99'",
            "UPDATE personal SET metadata = '{}'",
            "UPDATE personal SET origin_salt = 'ffffffffffffffffffffffffffffffff'",
            "UPDATE personal SET ip = NULL, seq = seq + 10",
            "DELETE FROM personal",
            "UPDATE tiles SET hashes = substr(hashes, 1, 32)",
            "UPDATE tiles SET number = number + 1",
            "DELETE FROM tiles",
            "UPDATE checkpoints SET note = ''",
            "DELETE FROM checkpoints",
            "UPDATE horizon SET kept_from = -1",
            "DELETE FROM horizon",
        ],
    )
    def test_database_refuses_changes(self, log: Log, statement: str) -> None:
        log.fill(5)
        log.sign()
        before = everything(log)
        with pytest.raises(DBAPIError, match="append-only"), log.database.engine.begin() as connection:
            connection.execute(text(statement))

        assert everything(log) == before

    @pytest.mark.parametrize("table", ["records", "personal", "tiles", "checkpoints", "horizon"])
    def test_database_refuses_to_truncate_a_table(self, log: Log, table: str) -> None:
        if log.database.is_sqlite:  # SQLite has no TRUNCATE
            return
        log.fill(1)
        with pytest.raises(DBAPIError, match="append-only"), log.database.engine.begin() as connection:
            connection.execute(text(f"TRUNCATE {table}"))

    def test_tile_can_only_grow(self, log: Log) -> None:
        log.fill(3)
        with (
            pytest.raises(DBAPIError, match="append-only"),
            log.database.engine.begin() as connection,
        ):
            connection.execute(TILES.update().values(hashes=bytes(4 * 32)))

    def test_position_is_unique(self, log: Log) -> None:
        log.fill(2)
        with log.database.transaction(write=False) as session:
            first = session.connection().execute(select(RECORDS).where(RECORDS.c.seq == 0)).one()
        with pytest.raises(DBAPIError), log.database.engine.begin() as connection:
            connection.execute(insert(RECORDS).values({**first._mapping, "id": new_id()}))


def everything(log: Log) -> list[Any]:
    with log.database.transaction(write=False) as session:
        return [
            session.connection().execute(select(table).order_by(*table.primary_key)).all()
            for table in (RECORDS, PERSONAL, TILES, CHECKPOINTS)
        ]


class TestCheckpoints:
    def test_checkpoints_cover_every_256_records_and_the_last_one(self, log: Log) -> None:
        log.fill(600)
        log.checkpoints.make(whole=False)
        assert sizes(log) == [256, 512]

        log.sign()
        assert sizes(log) == [256, 512, 600]
        log.sign()
        assert sizes(log) == [256, 512, 600]

    def test_partial_note_in_the_anchor_is_tolerated(self, log: Log) -> None:
        """A process that is killed while it writes leaves a partial note."""
        anchor = log.settings.anchor_file
        assert anchor is not None
        log.fill(1)
        log.sign()
        whole = anchor.read_bytes()
        dash = whole.index("—".encode())
        for number, cut in enumerate((*range(0, len(whole), 9), dash + 1, dash + 2)):
            anchor.write_bytes(whole + whole[:cut])
            log.fill(1)
            log.sign()

            assert [one.size for one in log.checkpoints.anchored(range(1, 999))] == [*range(1, number + 3)]

    def test_anchor_of_an_unknown_key_is_not_extended_repeatedly(self, log: Log) -> None:
        anchor = log.settings.anchor_file
        assert anchor is not None
        log.fill(600)
        log.sign()
        other_key = {"key_secret": SecretStr("70f1e2d3c4b5a69788796a5b4c3d2e1f")}
        changed = Checkpoints(log.settings.model_copy(update=other_key), log.database)
        changed.make(whole=True)
        after_once = anchor.read_bytes()
        changed.make(whole=True)

        assert anchor.read_bytes() == after_once
        assert changed.anchored(range(999)) == []
        assert [one.size for one in log.checkpoints.anchored(range(300, 600))] == [512]

    def test_reason_for_not_signing_is_logged_once(self, log: Log) -> None:
        log.fill(300)
        log.sign()
        log.tamper("DELETE FROM tiles WHERE level = 1")
        log.fill(1)
        with capture_logs() as logs:
            for _ in range(3):
                log.checkpoints.make(whole=True)

        assert [one["event"] for one in logs] == ["audit_log_changed_behind_our_back"]

    def test_empty_log_is_signed(self, log: Log) -> None:
        log.sign()

        assert sizes(log) == [0]
        assert log.faults() == []

    def test_changed_log_is_no_longer_signed(self, log: Log) -> None:
        log.fill(300)
        log.sign()
        leaf = "SELECT substr(hashes, 1, 32) FROM tiles WHERE level = 0 AND number = 0"
        log.tamper(f"UPDATE tiles SET hashes = ({leaf}) WHERE level = 1")
        log.fill(300)
        log.sign()

        assert sizes(log) == [256, 300]

    def test_checkpoint_has_the_root_of_the_tree(self, log: Log) -> None:
        log.fill(300)
        log.sign()
        with log.database.transaction(write=False) as session:
            tree = tree_of(session)
            note = (
                session.connection()
                .execute(select(CHECKPOINTS.c.note).where(CHECKPOINTS.c.size == 256))
                .scalar_one()
            )

            assert note == log.checkpoints.note(256, tree.root(256))


def sizes(log: Log) -> list[int]:
    with log.database.transaction(write=False) as session:
        return list(
            session.connection().execute(select(CHECKPOINTS.c.size).order_by(CHECKPOINTS.c.size)).scalars()
        )
