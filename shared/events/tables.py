"""The event tables in each service's database."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

from shared.data.database import UtcDateTime, rows_where

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite autoincrements INTEGER columns only


class EventTables:
    """Events to send (outbox), ids of received events (inbox), and events to retry (parked).

    An outbox row is waiting, leased to a relay, or sent to a broker. A parked row is to be retried, or dead.
    Each state has its own index, so finding the oldest row costs the same whether ten rows or a million are
    waiting.
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
            Column("sent_as", String(40)),  # the entry id at the broker, in sortable form
            Column("sent_in", String(120)),  # the broker's incarnation
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
            Index("ix_parked_dead", "received", "seq", **rows_where("dead", sqlite="dead = 1")),
            Index("ix_parked_alive", "received", "seq", **rows_where("NOT dead", sqlite="dead = 0")),
        )
