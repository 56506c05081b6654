"""Add the tab list of each account, and shares of terminals with other accounts."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "tabs",
        sa.Column("owner", sa.String(36), primary_key=True),
        sa.Column("tabs", sa.Text, nullable=False),
        sa.Column("names", sa.Text, nullable=False),
        sa.Column("active", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_table(
        "shares",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("terminal_id", sa.String(36), nullable=False),
        sa.Column("owner", sa.String(36), nullable=False),
        sa.Column("guest", sa.String(36)),
        sa.Column("mode", sa.String(2), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
    )
    op.create_index("ix_shares_terminal_id", "shares", ["terminal_id"])
    op.create_index("ix_shares_owner", "shares", ["owner"])
    op.create_index("ix_shares_expires", "shares", ["expires"])
    op.add_column("tickets", sa.Column("share_id", sa.String(36)))
