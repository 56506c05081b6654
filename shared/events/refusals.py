"""Refusals of anonymous callers: the first is recorded, the following ones are counted.

An anonymous caller may be refused a hundred times a second, and records are kept for months. For each
combination of action, network and account, the first refusal is recorded at once; after that, one record per
minute has the count. Refusals of signed-in accounts are recorded each time.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from shared.events.recorded import Recorded
from shared.http.schemas import unchecked

WINDOW_SECONDS = 60.0
KEYS_MAX = 1_000  # combinations of network, action and account at the same time
IPV4_NETWORK_BITS, IPV6_NETWORK_BITS = 24, 64
OTHERS = "others"


class Key(NamedTuple):
    action: str
    status: int
    network: str | None
    user_id: str | None


@dataclass
class Repeated:
    """The repeated refusals of one key in the current window."""

    until: float
    count: int = 0
    first: datetime | None = None
    last: Recorded | None = None

    def add(self, record: Recorded) -> None:
        self.count += 1
        self.first = self.first or record.timestamp
        self.last = record


class Refusals:
    """Counts refusals in bounded memory; `moment` is a time on the monotonic clock."""

    def __init__(self) -> None:
        self._repeated: dict[Key, Repeated] = {}

    def counts(self, record: Recorded, moment: float) -> bool:
        """Whether this refusal is only counted; otherwise it has to be recorded."""
        if record.outcome != "refused" or record.actor != "anonymous":
            return False
        key = Key(record.action, record.status, network_of(record.ip), record.user_id)
        known = self._repeated.get(key)
        if known is None and len(self._repeated) >= KEYS_MAX:
            key = Key(record.action, record.status, OTHERS, None)
            known = self._repeated.get(key)
        if known is None:
            self._repeated[key] = Repeated(moment + WINDOW_SECONDS)
            return False
        known.add(record)
        return True

    def due(self, moment: float) -> list[Recorded]:
        """Return one record per key whose window has ended; keys without refusals are dropped."""
        over = [(key, one) for key, one in self._repeated.items() if one.until <= moment]
        for key, one in over:
            if one.count:
                self._repeated[key] = Repeated(moment + WINDOW_SECONDS)
            else:
                del self._repeated[key]
        return [
            _summed_up(key, one.count, one.first, one.last) for key, one in over if one.first and one.last
        ]


def _summed_up(key: Key, count: int, first: datetime, last: Recorded) -> Recorded:
    """Return the last refusal's record, with the count and the times of the first and the last."""
    several = {"count": count, "first": _text(first), "last": _text(last.timestamp), "network": key.network}
    user_id = last.user_id if key.network != OTHERS else None
    changed = {"metadata": {**last.metadata, "repeated": several}, "user_id": user_id}
    return unchecked(type(last), {**vars(last), **changed})


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=4096)
def network_of(address: str | None) -> str | None:
    """Return the network that counts as one caller: an IPv4 /24 or an IPv6 /64."""
    if address is None:
        return None
    ip = ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    bits = IPV4_NETWORK_BITS if ip.version == 4 else IPV6_NETWORK_BITS
    return str(ip_network(f"{str(ip).partition('%')[0]}/{bits}", strict=False))  # without the zone
