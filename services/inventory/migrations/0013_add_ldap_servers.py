"""Add the tables of LDAP servers and the people on them."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime, rows_where

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "ldap_servers",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("server_url", sa.String(300), nullable=False),
        sa.Column("base_dn", sa.String(500), nullable=False),
        sa.Column("bind_username", sa.String(500), nullable=False),
        sa.Column("bind_password", sa.Text),
        sa.Column("search_filter", sa.String(1000), nullable=False),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("status_detail", sa.String(500)),
        sa.Column("last_sync", UtcDateTime),
        sa.Column("deleted", UtcDateTime),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("updated", UtcDateTime, nullable=False),
    )
    live = rows_where("deleted IS NULL")
    op.create_index("ix_ldap_servers_name", "ldap_servers", ["name"], unique=True, **live)
    op.create_index("ix_ldap_servers_live", "ldap_servers", ["id"], **live)
    op.create_table(
        "people",
        sa.Column("user_key", sa.String(300), primary_key=True),
        sa.Column("server", sa.String(36), nullable=False),
        sa.Column("display_name", sa.String(300)),
        sa.Column("email", sa.String(300)),
        sa.Column("department", sa.String(300)),
        sa.Column("job_title", sa.String(300)),
        sa.Column("manager", sa.String(300)),
        sa.Column("seen", UtcDateTime, nullable=False),
    )
    op.create_index("ix_people_server_seen", "people", ["server", "seen"])
