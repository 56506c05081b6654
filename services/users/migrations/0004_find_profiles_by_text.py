"""Index profiles by parts of their text, and by status and role together."""

from alembic import op

from shared.lists.search import Part
from shared.lists.search_migrations import create_search_index_1

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.drop_index("ix_profiles_status_id", "profiles")
    op.drop_index("ix_profiles_role_id", "profiles")
    op.create_index("ix_profiles_status_role_id", "profiles", ["status", "role", "id"])
    columns = {"status": Part.START, "role": Part.START, "search": Part.ALL}
    create_search_index_1("profiles", columns)
