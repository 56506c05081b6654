"""Create profiles, preferences, and the position up to which accounts were read from auth."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "profiles",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("email", sa.String),
        sa.Column("username", sa.String),
        sa.Column("first_name", sa.String),
        sa.Column("last_name", sa.String),
        sa.Column("phone", sa.String),
        sa.Column("bio", sa.String),
        sa.Column("avatar_url", sa.String),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("search", sa.String, nullable=False),
        sa.Column("account_updated", UtcDateTime, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_index("ix_profiles_status_id", "profiles", ["status", "id"])
    op.create_index("ix_profiles_role_id", "profiles", ["role", "id"])
    op.create_table(
        "preferences",
        sa.Column(
            "user_id", sa.String(36), sa.ForeignKey("profiles.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("entries", sa.JSON, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    account_sync = op.create_table(
        "account_sync",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("mark", UtcDateTime, nullable=False),
        sa.Column("reach", UtcDateTime),
        sa.Column("rest", sa.String),
    )
    op.bulk_insert(account_sync, [{"id": 1, "mark": datetime(1970, 1, 1, tzinfo=UTC)}])
