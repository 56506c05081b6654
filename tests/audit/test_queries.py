"""Each filter of the log is read along one index; the other conditions are checked record by record."""

from typing import Any, cast

import pytest
from sqlalchemy import BinaryExpression, Column

from services.audit.queries import by_index
from services.audit.schemas import FilterLogs


@pytest.mark.parametrize(
    ("filters", "user_id", "checked"),
    [
        ({}, None, []),
        ({"action": "SHOW"}, None, []),
        ({"action": "SHOW"}, "ann", ["action"]),
        ({"action": "SHOW", "resource": "users"}, "ann", ["user_id", "action"]),
        ({"outcome": "success"}, None, ["outcome"]),
        ({"outcome": "success"}, "ann", ["outcome"]),
        ({"outcome": "refused"}, None, []),
        ({"outcome": "refused"}, "ann", []),
        ({"outcome": "refused", "action": "SHOW"}, None, ["action"]),
        ({"outcome": "refused", "action": "SHOW"}, "ann", ["action"]),
        ({"outcome": "refused", "resource": "users"}, "ann", ["user_id", "outcome"]),
    ],
)
def test_conditions_without_the_index_are_checked_for_each_record(
    filters: dict[str, Any], user_id: str | None, checked: list[str]
) -> None:
    _, conditions = by_index(FilterLogs.model_validate(filters), user_id)

    columns = [cast("Column[Any]", cast("BinaryExpression[Any]", one).left).name for one in conditions]
    assert columns == checked
