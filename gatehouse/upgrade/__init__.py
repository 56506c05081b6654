"""Upgrades a suite that keeps running, and takes the way back."""


class NotUpgraded(Exception):
    """The upgrade stopped; the message says why, and what is left as it was."""
