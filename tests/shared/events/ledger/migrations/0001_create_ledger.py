"""Create the tables of both made-up services."""

import sqlalchemy as sa
from alembic import op

from shared.events.migrations import create_event_tables_1, index_parked_events_2

revision = "0001"
down_revision = None


def upgrade() -> None:
    things = op.create_table(
        "things",
        sa.Column("thing", sa.String(20), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
    )
    op.bulk_insert(things, [{"thing": f"thing {number}", "number": 0} for number in range(12)])
    op.create_table(
        "done",
        sa.Column("thing", sa.String(20), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("amount", sa.Integer, nullable=False),
    )
    op.create_table(
        "applied",
        sa.Column("place", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("thing", sa.String(20), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("amount", sa.Integer, nullable=False),
    )
    create_event_tables_1()
    index_parked_events_2()
