"""The tables of the audit log.

`records` are written once and never changed. Personal data is in `personal`, where it can be erased; a record
holds only salted commitments to it. `tiles` is the tree over all records ever written, and `checkpoints` its
signed states. See README.md.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, SmallInteger, String, Text
from sqlalchemy import Table as SqlTable
from sqlalchemy.orm import registry
from sqlmodel import SQLModel

from shared.data.database import UtcDateTime, rows_where
from shared.data.tables import NOT_VALIDATED
from shared.events import EventTables

REFUSED = "refused"
_ONLY_REFUSED = rows_where(f"outcome = '{REFUSED}'")


class Table(SQLModel, registry=registry()):
    """The base of this service's tables, with its own metadata."""

    model_config = NOT_VALIDATED


# `received` is part of the key because PostgreSQL partitions by its month. It never goes backwards while
# `seq` grows, so each partition is a range of the log.
RECORDS = SqlTable(
    "records",
    Table.metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("received", UtcDateTime, primary_key=True),
    Column("id", String(36), nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("status", Integer, nullable=False),
    Column("service", String(50), nullable=False),
    Column("user_id", Text),
    Column("actor", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("timestamp", UtcDateTime, nullable=False),
    Column("request_id", Text),
    Column("trace_id", Text),
    Column("origin", String(64), nullable=False),
    Column("details", String(64), nullable=False),
    Index("ix_records_id", "id"),
    Index("ix_records_action_id", "action", "id"),
    Index("ix_records_user_id_id", "user_id", "id"),
    Index("ix_records_resource_id", "resource", "id"),
    Index("ix_records_refused_id", "id", **_ONLY_REFUSED),
    Index("ix_records_refused_user_id_id", "user_id", "id", **_ONLY_REFUSED),
)
# Erasing a person clears the columns of a part and its salt, and names the record of the erasure.
PERSONAL = SqlTable(
    "personal",
    Table.metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("received", UtcDateTime, primary_key=True),
    Column("ip", Text),
    Column("user_agent", Text),
    Column("origin_salt", String(32)),
    Column("origin_erased_by", BigInteger),
    Column("metadata", Text),  # canonical JSON, the text of the commitment
    Column("details_salt", String(32)),
    Column("details_erased_by", BigInteger),
)
TILES = SqlTable(
    "tiles",
    Table.metadata,
    Column("level", SmallInteger, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
)
CHECKPOINTS = SqlTable(
    "checkpoints",
    Table.metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("created", UtcDateTime, nullable=False),
)
# One row: the number of the first record whose content is kept. Of older records the log has only hashes.
HORIZON = SqlTable(
    "horizon",
    Table.metadata,
    Column("id", Integer, primary_key=True),
    Column("kept_from", BigInteger, nullable=False),
)
# Accounts to be erased, and the progress. A row stays for records that arrive late.
ERASURES = SqlTable(
    "erasures",
    Table.metadata,
    Column("account_id", String(36), primary_key=True),
    Column("since", UtcDateTime, nullable=False),
    Column("done_to", BigInteger, nullable=False),
)
# Accounts whose records are exempt from erasure and retention for now.
HOLDS = SqlTable(
    "holds",
    Table.metadata,
    Column("user_id", String(36), primary_key=True),
    Column("reason", String(500), nullable=False),
    Column("created", UtcDateTime, nullable=False),
)
EVENTS = EventTables(Table.metadata)
