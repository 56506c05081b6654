"""Backups of a whole suite: taken at one moment while it runs, restored whole or service by service."""


class NotDone(Exception):
    """A backup or a restore has stopped; the message says why, and what was left as it was."""
