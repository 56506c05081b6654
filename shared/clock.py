"""The one place that asks what time it is: UTC, with its zone."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)


def timestamp() -> str:
    """Now, as the API writes times: RFC 3339 in UTC with a `Z`."""
    return now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
