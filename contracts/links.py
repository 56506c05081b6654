"""Seals sensitive links in events, so that outboxes, inboxes and brokers never hold them in plain text.

The key is derived from INTERNAL_SECRET, which every service has. While the secret is being rotated, links
sealed with the previous one can still be opened.
"""

from collections.abc import Sequence
from functools import lru_cache

from shared.data.sealed import Sealer

_SERVICE = "links in events"
_PLACE = "mail.requested"


def seal_link(secrets: Sequence[str], mail_id: str, link: str) -> str:
    """Return the sealed link for the event; it can be opened only with this mail id."""
    return _sealer(tuple(secrets)).seal(link, _PLACE, mail_id)


def open_link(secrets: Sequence[str], mail_id: str, sealed: str) -> str:
    """Return the link in plain text, for the service that sends the mail."""
    return _sealer(tuple(secrets)).open(sealed, _PLACE, mail_id)


@lru_cache(2)  # deriving the keys takes longer than using them
def _sealer(secrets: tuple[str, ...]) -> Sealer:
    return Sealer(_SERVICE, secrets)
