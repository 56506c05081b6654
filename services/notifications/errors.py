"""The refusals of the notifications service."""

from shared.errors import Conflict


class AlwaysOn(Conflict):
    """Notifications of this type cannot be switched off on this channel."""

    code = "always_on"
