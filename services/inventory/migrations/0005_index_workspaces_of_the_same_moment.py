"""Let the search index of SQLite hold WorkSpaces whose ids were made at the same moment."""

from shared.lists.search import Part
from shared.lists.search_migrations import spread_search_index_2

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    spread_search_index_2("workspaces", {"presence": Part.START, "search": Part.ALL})
