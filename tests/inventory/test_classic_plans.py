"""Lists of the classic API read few rows, whatever the filter."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from services.inventory.classic import filters
from services.inventory.classic.lists import COST_LIST, EVENT_LIST, USAGE_LIST, WORKSPACE_LIST, Listing
from services.inventory.settings import Settings
from shared.data.database import Database
from tests import databases, lists
from tests.plans import STEPS, Watched

ROWS = 5_000
STEPS_MAX = 25_000  # a scan of one table takes more than 40,000


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path_factory.mktemp('classic')}/inventory.db"
    databases.migrate(url, Settings.migrations())
    lists.fill("inventory", url, ROWS)
    with closing(Database(url)) as database:
        yield database


@pytest.mark.parametrize(
    ("listed", "query"),
    [
        (COST_LIST, filters.ListCosts(service="Amazon EC2")),
        (COST_LIST, filters.ListCosts(user_name="needle12")),
        (COST_LIST, filters.ListCosts(workspace_id=f"ws-{lists.FEW + 2:09}")),
        (USAGE_LIST, filters.ListUsage(user_name="needle12")),
        (USAGE_LIST, filters.ListUsage(month_to="2023-12")),
        (USAGE_LIST, filters.ListUsage(month_from="2099-01")),
        (WORKSPACE_LIST, filters.ListWorkspaces(state="ERROR")),
        (WORKSPACE_LIST, filters.ListWorkspaces(user_name="needle12", terminated=False)),
        (EVENT_LIST, filters.ListEvents(username="ann")),
        (EVENT_LIST, filters.ListEvents(event_name="CreateWorkspaces")),
    ],
    ids=lambda value: value.name if isinstance(value, Listing) else str(value),
)
def test_list_with_a_rare_filter_reads_few_rows(full: Database, listed: Listing, query: Any) -> None:
    watched = Watched(full.engine)
    with full.transaction(write=False) as session:
        driver: Any = session.connection().connection.driver_connection
        driver.set_progress_handler(watched.step, STEPS)
        watched.forget()
        listed.page(session, query)
        driver.set_progress_handler(None, 0)

    assert watched.statements
    assert watched.steps <= STEPS_MAX
