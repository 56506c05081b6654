"""Create the log: records, their personal data, the tree and its checkpoints."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0001"
down_revision = None

# The condition under which a change is allowed. On SQLite it must never be NULL, which would allow any.
_EMPTIES_ONLY = " AND ".join(
    f"(NEW.{column} IS NULL OR NEW.{column} {{same}} OLD.{column})"
    for column in "ip user_agent origin_salt metadata details_salt".split()
)
_SAME_PLACE = "NEW.seq = OLD.seq AND NEW.received = OLD.received"


def upgrade() -> None:
    _create_records()
    _create_personal()
    _create_the_rest()
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def _sequence_columns() -> list[sa.schema.SchemaItem]:
    if (
        op.get_bind().dialect.name == "sqlite"
    ):  # where only a lone INTEGER PRIMARY KEY is an alias for the rowid
        return [
            sa.Column("seq", sa.Integer, primary_key=True),
            sa.Column("received", UtcDateTime, nullable=False),
        ]
    return [
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("received", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("seq", "received"),
    ]


def _create_records() -> None:
    op.create_table(
        "records",
        *_sequence_columns(),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("service", sa.String(50), nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("timestamp", UtcDateTime, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("trace_id", sa.Text),
        sa.Column("origin", sa.String(64), nullable=False),
        sa.Column("details", sa.String(64), nullable=False),
        postgresql_partition_by="RANGE (received)",
    )
    op.create_index("ix_records_id", "records", ["id"])
    op.create_index("ix_records_action_id", "records", ["action", "id"])
    op.create_index("ix_records_user_id_id", "records", ["user_id", "id"])
    op.create_index("ix_records_resource_id", "records", ["resource", "id"])


def _create_personal() -> None:
    op.create_table(
        "personal",
        *_sequence_columns(),
        sa.Column("ip", sa.Text),
        sa.Column("user_agent", sa.Text),
        sa.Column("origin_salt", sa.String(32)),
        sa.Column("origin_erased_by", sa.BigInteger),
        sa.Column("metadata", sa.Text),
        sa.Column("details_salt", sa.String(32)),
        sa.Column("details_erased_by", sa.BigInteger),
        postgresql_partition_by="RANGE (received)",
    )


def _create_the_rest() -> None:
    op.create_table(
        "tiles",
        sa.Column("level", sa.SmallInteger, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
    )
    horizon = op.create_table(
        "horizon",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kept_from", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(horizon, [{"id": 1, "kept_from": 0}])
    op.create_table(
        "erasures",
        sa.Column("account_id", sa.String(36), primary_key=True),
        sa.Column("since", UtcDateTime, nullable=False),
        sa.Column("done_to", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "holds",
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
    )


def _guard_sqlite() -> None:
    extends = (
        "length(NEW.hashes) > length(OLD.hashes) AND substr(NEW.hashes, 1, length(OLD.hashes)) = OLD.hashes"
    )
    cut = "OLD.seq < (SELECT kept_from FROM horizon)"
    for table, event, allowed in (
        ("records", "UPDATE", "0"),
        ("records", "DELETE", cut),
        ("personal", "UPDATE", f"{_SAME_PLACE} AND {_EMPTIES_ONLY.format(same='IS')}"),
        ("personal", "DELETE", cut),
        ("tiles", "UPDATE", f"NEW.level = OLD.level AND NEW.number = OLD.number AND {extends}"),
        ("tiles", "DELETE", "0"),
        ("checkpoints", "UPDATE", "0"),
        ("checkpoints", "DELETE", "0"),
        ("horizon", "UPDATE", "NEW.kept_from >= OLD.kept_from"),
        ("horizon", "DELETE", "0"),
    ):
        op.execute(
            f"CREATE TRIGGER {table}_refuse_{event.lower()} BEFORE {event} ON {table} WHEN NOT ({allowed}) "
            f"BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )


def _guard_postgresql() -> None:
    # Partitions have their own schema, so that the default one has only the tables that the service declares.
    op.execute("CREATE SCHEMA IF NOT EXISTS partitions")
    op.execute(
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"
    )
    extends = (
        "length(NEW.hashes) > length(OLD.hashes) "
        "AND substring(NEW.hashes FROM 1 FOR length(OLD.hashes)) = OLD.hashes"
    )
    for table, event, allowed in (
        ("records", "UPDATE", "false"),
        ("records", "DELETE", "false"),
        ("personal", "UPDATE", f"{_SAME_PLACE} AND {_EMPTIES_ONLY.format(same='=')}"),
        ("personal", "DELETE", "false"),
        ("tiles", "UPDATE", f"NEW.level = OLD.level AND NEW.number = OLD.number AND {extends}"),
        ("tiles", "DELETE", "false"),
        ("checkpoints", "UPDATE", "false"),
        ("checkpoints", "DELETE", "false"),
        ("horizon", "UPDATE", "NEW.kept_from >= OLD.kept_from"),
        ("horizon", "DELETE", "false"),
    ):
        op.execute(
            f"CREATE TRIGGER {table}_refuse_{event.lower()} BEFORE {event} ON {table} FOR EACH ROW "
            f"WHEN (({allowed}) IS NOT TRUE) EXECUTE FUNCTION refuse_change()"
        )
    for table in ("tiles", "checkpoints", "horizon", "records", "personal"):
        op.execute(
            f"CREATE TRIGGER {table}_refuse_truncate BEFORE TRUNCATE ON {table} "
            "EXECUTE FUNCTION refuse_change()"
        )
