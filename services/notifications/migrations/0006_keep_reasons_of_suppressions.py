"""Keep each reason for which nothing is sent to an address, so that admins can list and remove it."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime
from shared.ids import new_id

revision = "0006"
down_revision = "0005"

_COPIED = ("to_hash", "reason", "created", "until")
_ROWS_AT_ONCE = 500


def upgrade() -> None:
    op.drop_index("ix_suppressions_until", "suppressions")
    op.rename_table("suppressions", "suppressions_before")
    before = sa.table("suppressions_before", *(sa.column(name) for name in _COPIED))
    after = op.create_table(
        "suppressions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("to_hash", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(20), nullable=False),
        sa.Column("by", sa.String(36)),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("until", UtcDateTime),
    )
    op.create_index("ix_suppressions_to_hash_reason", "suppressions", ["to_hash", "reason"], unique=True)
    for columns in (["channel", "id"], ["reason", "id"], ["channel", "reason", "id"]):
        op.create_index(f"ix_suppressions_{'_'.join(columns)}", "suppressions", columns)
    ended = sa.text("until IS NOT NULL")
    op.create_index(
        "ix_suppressions_until", "suppressions", ["until"], sqlite_where=ended, postgresql_where=ended
    )
    _copy(before, after)
    op.drop_table("suppressions_before")


def _copy(before: sa.TableClause, after: sa.Table) -> None:
    last = ""
    while True:
        some = (
            sa.select(before).where(before.c.to_hash > last).order_by(before.c.to_hash).limit(_ROWS_AT_ONCE)
        )
        rows = [{**row, "id": new_id(), "channel": "email"} for row in op.get_bind().execute(some).mappings()]
        if not rows:
            return
        # Into columns without types: times are copied as they are stored.
        op.get_bind().execute(sa.insert(sa.table(after.name, *(sa.column(name) for name in rows[0]))), rows)
        last = rows[-1]["to_hash"]
