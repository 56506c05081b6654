"""The event of the terminal service."""

from datetime import datetime

from shared.events import Event


class BoxStopped(Event):
    """The box of an account was stopped, or ended without a request (`killed`).

    `reason` is `user`, `idle`, `admin`, `disk_full`, `disabled`, `deleted` or `killed`. A box that could not
    be started emits no event.
    """

    topic = "box.stopped"
    key = "user_id"
    source = "terminal"

    box_id: str
    user_id: str
    reason: str
    stopped: datetime
