"""The only place that reads the clock: timezone-aware UTC."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)


def timestamp() -> str:
    """Return the current time as the API writes it: RFC 3339 in UTC with a `Z`."""
    return now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
