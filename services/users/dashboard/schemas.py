"""The response body of the dashboard."""

from datetime import datetime

from shared.http.schemas import Output, example


class DashboardSummary(Output):
    """Numbers by section, each counted up to 10,000.

    They are the caller's own, or everybody's if an admin asks. `unavailable` names the sections whose service
    failed or did not respond within 0.3 seconds.
    """

    model_config = example(
        {
            "role": "user",
            "generated": "2026-01-31T12:00:00Z",
            "sections": {
                "orders": {"total": 12, "pending": 1, "confirmed": 0, "shipped": 2},
                "notifications": {"total": 31, "unread": 4},
            },
            "unavailable": ["terminal"],
        }
    )

    role: str
    generated: datetime
    sections: dict[str, dict[str, int]]
    unavailable: list[str]
