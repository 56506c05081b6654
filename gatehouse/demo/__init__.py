"""A believable company in a development suite: filled in through the public API, marked, and removable."""


class NotDone(Exception):
    """The demo cannot be filled in or removed; the message says why and what to do."""
