"""Let signing keys be rotated and killed. The keys so far have signed from the beginning."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0017"
down_revision = "0016"

BEGINNING = "1970-01-01T00:00:00.000000+00:00"


def upgrade() -> None:
    op.add_column(
        "signing_keys", sa.Column("signs_from", UtcDateTime, nullable=False, server_default=BEGINNING)
    )
    op.add_column("signing_keys", sa.Column("retires", UtcDateTime))
    op.add_column("signing_keys", sa.Column("killed", UtcDateTime))
