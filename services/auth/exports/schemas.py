"""The output of the endpoints for exports."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field

from shared.http.schemas import Output, example


class ExportOut(Output):
    """An export: `progress` of `total` services have sent their part."""

    model_config = example(
        {
            "id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "state": "done",
            "progress": 7,
            "total": 7,
            "missing": [],
            "created": "2026-01-31T12:00:00Z",
            "finished": "2026-01-31T12:00:02Z",
            "expires": "2026-02-03T12:00:02Z",
        }
    )

    id: str
    state: Literal["gathering", "done"]
    progress: int
    total: int
    missing: list[str] = Field(description="Services that have not sent their part, or not in time.")
    created: datetime
    finished: datetime | None
    expires: datetime = Field(description="When it is deleted.")

    @classmethod
    def of(cls, row: dict[str, Any], missing: list[str]) -> Self:
        total = len(row["services"].split())
        state = "gathering" if row["finished"] is None else "done"
        counted = {"progress": total - len(missing), "total": total}
        return cls.unchecked(row, state=state, missing=missing, **counted)
