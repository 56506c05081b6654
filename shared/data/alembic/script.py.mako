"""${message}."""

import sqlalchemy as sa
from alembic import op
% if "UtcDateTime" in (upgrades or ""):
from shared.data.database import UtcDateTime
% endif

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
