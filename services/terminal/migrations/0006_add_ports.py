"""Add leases of ports, and the visits of browsers to them."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "ports",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("host", sa.String(63), nullable=False, unique=True),
        sa.Column("owner", sa.String(36), nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("name", sa.String(30), nullable=False),
        sa.Column("visibility", sa.String(10), nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
    )
    op.create_index("uq_ports_owner_port", "ports", ["owner", "port"], unique=True)
    op.create_index("ix_ports_expires", "ports", ["expires"])
    op.create_table(
        "port_visits",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("lease_id", sa.String(36), nullable=False),
        sa.Column("visitor", sa.String(36), nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
    )
    for column in ("lease_id", "visitor", "expires"):
        op.create_index(f"ix_port_visits_{column}", "port_visits", [column])
