"""Moves a service's data from SQLite to PostgreSQL and back, while the service keeps serving reads."""


class NotMoved(Exception):
    """A move has stopped; the message says why, and what was left as it was."""
