"""The event tables in each service's database."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

from shared.data.database import UtcDateTime, rows_where

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only in an INTEGER


class EventTables:
    """Events to be sent (outbox), known event ids (inbox), and events to be applied again (parked).

    A row of the outbox waits, is leased to a relay, or was sent to a broker, and
    each of the three has its index: taking the oldest costs the same whether ten wait or a million.
    """

    def __init__(self, metadata: MetaData) -> None:
        self.outbox = Table(
            "outbox",
            metadata,
            Column("seq", _NUMBER, primary_key=True, autoincrement=True),
            Column("subscriber", String(50), nullable=False),
            Column("key", String(300), nullable=False),
            Column("body", Text, nullable=False),
            Column("created", UtcDateTime, nullable=False),
            Column("attempts", Integer, nullable=False, default=0),
            Column("lease", String(36)),
            Column("leased_until", UtcDateTime),
            Column("sent_as", String(40)),  # the number of a broker's entry, written so that it sorts
            Column("sent_in", String(120)),  # which life of the broker that was
            Column("last_error", String(500)),
            Index("ix_outbox_waiting", "subscriber", "seq", **rows_where("sent_as IS NULL")),
            Index("ix_outbox_leased", "subscriber", "leased_until", **rows_where("leased_until IS NOT NULL")),
            Index("ix_outbox_sent", "sent_in", "sent_as", **rows_where("sent_as IS NOT NULL")),
        )
        self.inbox = Table(
            "inbox",
            metadata,
            Column("id", String(36), primary_key=True),
            Column("received", UtcDateTime, nullable=False, index=True),
        )
        self.parked = Table(
            "parked",
            metadata,
            Column("seq", _NUMBER, primary_key=True, autoincrement=True),
            Column("id", String(36), nullable=False, unique=True),
            Column("topic", String(100), nullable=False),
            Column("key", String(300), nullable=False),
            Column("body", Text, nullable=False),
            Column("received", UtcDateTime, nullable=False),
            Column("due", UtcDateTime, nullable=False, index=True),
            Column("attempts", Integer, nullable=False, default=0),
            Column("dead", Boolean, nullable=False, default=False),
            Column("blocks", Boolean, nullable=False, default=False),
            Column("reason", String(500)),
            Index("ix_parked_key_seq", "key", "seq"),
        )
