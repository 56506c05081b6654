"""Create settings, and the tables of leased work, for the duty that seals values again."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime
from shared.work.migrations import create_work_tables_1

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "settings",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.String(36), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("value", sa.Text),
        sa.Column("sealed", sa.Text),
        sa.Column("type", sa.String(10), nullable=False),
        sa.Column("description", sa.String(500)),
        sa.Column("changed_by", sa.String(36), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_index("ix_settings_owner_key", "settings", ["owner", "key"], unique=True)
    op.create_index("ix_settings_owner_id", "settings", ["owner", "id"])
    create_work_tables_1()
