"""Load on a running suite: people who arrive at a steady rate, however long the responses take."""


class NotRun(Exception):
    """The load could not be put on the suite; the message says why."""
