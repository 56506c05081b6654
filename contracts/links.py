"""Links in events that open something: sealed, so that no outbox, inbox or broker holds a readable one.

The key follows from INTERNAL_SECRET, which every service has. While the secret is replaced, what the one
before has sealed can be opened as well.
"""

from collections.abc import Sequence

from shared.data.sealed import Sealer

_SERVICE = "links in events"
_PLACE = "mail.requested"


def seal_link(secrets: Sequence[str], mail_id: str, link: str) -> str:
    """The link as the event holds it; it counts for the mail with this id alone."""
    return Sealer(_SERVICE, secrets).seal(link, _PLACE, mail_id)


def open_link(secrets: Sequence[str], mail_id: str, sealed: str) -> str:
    """The link itself, for whoever sends the mail."""
    return Sealer(_SERVICE, secrets).open(sealed, _PLACE, mail_id)
