"""Let staff tag tickets, and authors correct their replies."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("tickets", sa.Column("tags", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("replies", sa.Column("edited", UtcDateTime, nullable=True))
    op.create_table(
        "ticket_tags",
        sa.Column("tag", sa.String(30), nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("tag", "id"),
        sa.ForeignKeyConstraint(["id"], ["tickets.id"], ondelete="CASCADE"),
    )
    op.create_index("ix_ticket_tags_id", "ticket_tags", ["id"])
