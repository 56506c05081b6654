"""Add OAuth clients, authorization codes and consents; a session can belong to a client."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime, rows_where

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for column in (
        sa.Column("client_id", sa.String(36)),
        sa.Column("scope", sa.String(2000)),
        sa.Column("resource", sa.String(500)),
        sa.Column("parent_id", sa.String(36)),
        sa.Column("authenticated", UtcDateTime),
    ):
        op.add_column("sessions", column)
    op.create_index("ix_sessions_parent_id", "sessions", ["parent_id"], **rows_where("parent_id IS NOT NULL"))
    op.create_table(
        "clients",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("description", sa.String(500)),
        sa.Column("is_public", sa.Boolean, nullable=False),
        sa.Column("is_first_party", sa.Boolean, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("redirect_uris", sa.String, nullable=False),
        sa.Column("scopes", sa.String(2000), nullable=False),
        sa.Column("grant_types", sa.String(200), nullable=False),
        sa.Column("secret_hash", sa.String(64)),
        sa.Column("previous_secret_hash", sa.String(64)),
        sa.Column("previous_secret_expires", UtcDateTime),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_by", sa.String(36)),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    _create_grants()


def _create_grants() -> None:
    op.create_table(
        "authorization_codes",
        sa.Column("code_hash", sa.String(64), primary_key=True),
        _reference("client_id", "clients"),
        _reference("account_id", "accounts"),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("redirect_uri", sa.String, nullable=False),
        sa.Column("scope", sa.String(2000), nullable=False),
        sa.Column("resource", sa.String(500)),
        sa.Column("nonce", sa.String),
        sa.Column("code_challenge", sa.String(64), nullable=False),
        sa.Column("authenticated", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
        sa.Column("used", UtcDateTime),
        sa.Column("grant_id", sa.String(36)),
    )
    op.create_index("ix_authorization_codes_expires", "authorization_codes", ["expires"])
    op.create_table(
        "consents",
        _reference("account_id", "accounts", is_key=True),
        _reference("client_id", "clients", is_key=True),
        sa.Column("scope", sa.String(2000), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    op.create_index("ix_consents_client_id", "consents", ["client_id"])


def _reference(name: str, table: str, *, is_key: bool = False) -> "sa.Column[str]":
    target = sa.ForeignKey(f"{table}.id", ondelete="CASCADE")
    return sa.Column(name, sa.String(36), target, nullable=False, primary_key=is_key)
