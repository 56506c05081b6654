"""Let SQLite's search index contain profiles whose ids were made at the same moment."""

from shared.lists.search import Part
from shared.lists.search_migrations import spread_search_index_2

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    spread_search_index_2("profiles", {"status": Part.START, "role": Part.START, "search": Part.ALL})
