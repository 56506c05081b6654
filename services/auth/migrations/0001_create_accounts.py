"""Create accounts, their sessions, counted login attempts and signing keys."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("email", sa.String(254)),
        sa.Column("username", sa.String(32)),
        sa.Column("username_key", sa.String(32)),
        sa.Column("first_name", sa.String(100)),
        sa.Column("last_name", sa.String(100)),
        sa.Column("password_hash", sa.String(100)),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_index("ux_accounts_email", "accounts", ["email"], unique=True)
    op.create_index("ux_accounts_username_key", "accounts", ["username_key"], unique=True)
    op.create_index("ix_accounts_role", "accounts", ["role"])
    op.create_index("ix_accounts_updated", "accounts", ["updated"])
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column(
            "account_id", sa.String(36), sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("previous_hash", sa.String(64)),
        sa.Column("rotated", UtcDateTime),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
        sa.Column("revoked", UtcDateTime),
    )
    op.create_index("ix_sessions_account_id_id", "sessions", ["account_id", "id"])
    op.create_index("ix_sessions_expires", "sessions", ["expires"])
    op.create_table(
        "login_attempts",
        sa.Column("name_hash", sa.String(64), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("blocked_until", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_index("ix_login_attempts_updated", "login_attempts", ["updated"])
    op.create_table(
        "signing_keys",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(43), nullable=False, unique=True),
        sa.Column("public_jwk", sa.String, nullable=False),
        sa.Column("private_pem", sa.String, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
    )
