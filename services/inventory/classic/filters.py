"""Filters and paging of the classic API."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from services.inventory.exporting import Format
from services.inventory.schemas import Name, WorkspaceId
from services.inventory.usage import Month
from shared.http.schemas import Query
from shared.lists.times import Day, Time

OFFSET_MAX = 10_000
LIMIT_MAX = 200
SYNCS_SHOWN = 50
Text = Annotated[str, Field(max_length=300)]


def _allow_empty(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        kept = {name: field.pop(name) for name in ("default", "description", "title") if name in field}
        kinds = field.pop("anyOf", None) or [dict(field)]
        field.clear()
        field.update(kept, anyOf=[*kinds, {"type": "string", "maxLength": 0}])


class Filters(Query):
    """An empty parameter counts as not given, as the web interface sends empty fields."""

    model_config = ConfigDict(json_schema_extra=_allow_empty)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: Any) -> Any:
        given = isinstance(values, Mapping)
        return {name: value for name, value in values.items() if value != ""} if given else values


class Offset(Filters):
    limit: int = Field(default=20, ge=1, le=LIMIT_MAX, description="Rows per page.")
    offset: int = Field(default=0, ge=0, le=OFFSET_MAX, description="Rows to skip.")


class WorkspaceFilter(Filters):
    user_name: Name | None = Field(default=None, description="Only WorkSpaces of this user.")
    state: Name | None = Field(default=None, description="Only WorkSpaces in this state.")
    running_mode: Name | None = Field(default=None, description="Only WorkSpaces in this running mode.")
    terminated: bool | None = Field(
        default=None, description="Only those that are gone (true) or not (false)."
    )


class UsageFilter(Filters):
    user_name: Text | None = Field(default=None, description="Text in the user's name.")
    workspace_id: WorkspaceId | None = Field(default=None, description="Only this WorkSpace.")
    month_from: Month | None = Field(default=None, description="This month and later ones.")
    month_to: Month | None = Field(default=None, description="This month and earlier ones.")


class CostFilter(Filters):
    user_name: Text | None = Field(default=None, description="Text in the user's name.")
    workspace_id: WorkspaceId | None = Field(default=None, description="Only this WorkSpace.")
    service: Name | None = Field(default=None, description="Only costs of this AWS service.")
    start_date: Day | None = Field(default=None, description="Costs on or after this day.")
    end_date: Day | None = Field(default=None, description="Costs on or before this day.")


class EventFilter(Filters):
    workspace_id: WorkspaceId | None = Field(default=None, description="Calls that name this WorkSpace.")
    event_name: Name | None = Field(default=None, description="Calls with this name.")
    username: Name | None = Field(default=None, description="Calls by this user.")
    start_time: Time | None = Field(default=None, description="Calls at or after this time.")
    end_time: Time | None = Field(default=None, description="Calls before this time.")
    from_date: Day | None = Field(default=None, description="Calls on or after this day, in UTC.")
    to_date: Day | None = Field(default=None, description="Calls on or before this day, in UTC.")


class ListWorkspaces(WorkspaceFilter, Offset):
    """Filters and paging of WorkSpaces."""


class ListUsage(UsageFilter, Offset):
    """Filters and paging of usage."""


class ListCosts(CostFilter, Offset):
    """Filters and paging of costs."""

    limit: int = Field(default=50, ge=1, le=LIMIT_MAX, description="Rows per page.")


class ListEvents(EventFilter, Offset):
    """Filters and paging of events."""

    limit: int = Field(default=50, ge=1, le=LIMIT_MAX, description="Rows per page.")


class ListSyncs(Filters):
    limit: int = Field(default=SYNCS_SHOWN, ge=1, le=SYNCS_SHOWN, description="Rows to show.")


class ExportWorkspaces(WorkspaceFilter, Format):
    """Filters and format of an export of WorkSpaces."""


class ExportUsage(UsageFilter, Format):
    """Filters and format of an export of usage."""


class ExportCosts(CostFilter, Format):
    """Filters and format of an export of costs."""


class ExportEvents(EventFilter, Format):
    """Filters and format of an export of events."""


class SyncQuery(Filters):
    type: Literal["all", "workspaces", "cloudtrail", "billing", "usage", "active_directory", "ad"] = Field(
        default="all", description="What to read; `active_directory` and `ad` are the directories."
    )
