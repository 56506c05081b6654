"""Add device codes, pushed authorization requests and post-logout redirect URIs."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column(
        "clients", sa.Column("post_logout_redirect_uris", sa.String, nullable=False, server_default="")
    )
    op.create_table(
        "device_codes",
        sa.Column("device_hash", sa.String(64), primary_key=True),
        sa.Column("user_hash", sa.String(64), nullable=False, unique=True),
        _client(),
        sa.Column("scope", sa.String(2000), nullable=False),
        sa.Column("resource", sa.String(500)),
        sa.Column("is_denied", sa.Boolean, nullable=False),
        sa.Column("account_id", sa.String(36), sa.ForeignKey("accounts.id", ondelete="CASCADE")),
        sa.Column("authenticated", UtcDateTime),
        sa.Column("amr", sa.String(50)),
        sa.Column("interval", sa.Integer, nullable=False),
        sa.Column("polled", UtcDateTime),
        sa.Column("expires", UtcDateTime, nullable=False),
    )
    op.create_index("ix_device_codes_expires", "device_codes", ["expires"])
    op.create_table(
        "pushed_requests",
        sa.Column("uri_hash", sa.String(64), primary_key=True),
        _client(),
        sa.Column("query", sa.String, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
    )
    op.create_index("ix_pushed_requests_expires", "pushed_requests", ["expires"])


def _client() -> "sa.Column[str]":
    return sa.Column(
        "client_id", sa.String(36), sa.ForeignKey("clients.id", ondelete="CASCADE"), nullable=False
    )
