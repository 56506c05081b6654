"""Auth's accounts, read through its internal API."""

from dataclasses import dataclass
from urllib.parse import quote

from shared.peers.client import Peer, PeerRefusal

_UNKNOWN = (404, 422)  # 422: not an account id


@dataclass(frozen=True, slots=True)
class Addressee:
    """The account that a notification is for; without an id there is no such account."""

    user_id: str | None
    email: str | None = None


async def fetch(auth: Peer, user_id: str) -> Addressee:
    try:
        account = await auth.call("GET", f"/internal/accounts/{quote(user_id, safe='')}")
    except PeerRefusal as refusal:
        if refusal.status in _UNKNOWN:
            return Addressee(None)
        raise
    return Addressee(user_id, account.get("email"))
