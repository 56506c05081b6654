"""The trace context of W3C (`traceparent`), and which traces are sampled.

This module knows nothing of the OpenTelemetry SDK: it decides first, so that a request that is not sampled
never enters the SDK. In the SDK, such a request would cost half as much as the gateway's
own work.
"""

import hmac
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

# Version, trace id, parent id, flags; later versions may add more.
TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[ -~]{0,256})?"
)
TRACE_ID = slice(3, 35)
PARENT_ID = slice(36, 52)
_FLAG = 54  # the last digit of the flags, whose lowest bit says that the caller recorded the trace
_ODD = b"13579bdf"
_PURPOSE = b"which traces are sampled"
_HASH_BYTES = 8

SAMPLER = "OTEL_TRACES_SAMPLER"
RATIO = "OTEL_TRACES_SAMPLER_ARG"
_PARENT = "parentbased_"
_RATIOS: dict[str, float | None] = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
SAMPLERS = (*_RATIOS, *(_PARENT + name for name in _RATIOS))


@dataclass(frozen=True, slots=True)
class Sampler:
    """Decides with the share of the sampler of the same name in the SDK.

    `bound` is compared with a hash of the trace id, so that all processes decide alike. The SDK compares a
    part of the id itself, but a caller chooses the id and could have everything sampled. No caller knows the
    key of the hash.
    """

    bound: bytes
    asks_parent: bool
    keyed: "blake2b" = field(repr=False)  # a hash that has begun with the key

    @classmethod
    def of(cls, environment: Mapping[str, str], secret: str) -> "Sampler":
        """Return the sampler that the environment names; raise ValueError with a sentence to show.

        `secret` is one that all processes share, and no client knows.
        """
        name = environment.get(SAMPLER) or f"{_PARENT}always_on"
        if name not in SAMPLERS:
            raise ValueError(f"{SAMPLER}: must be one of {', '.join(SAMPLERS)}")
        ratio = _RATIOS[name.removeprefix(_PARENT)]
        if ratio is None:
            ratio = _ratio(environment.get(RATIO) or "1.0")
        # Key and trace id fill one block of BLAKE2. Its own keyed mode would hash a second one.
        key = hmac.digest(secret.encode(), _PURPOSE, "sha256")
        return cls(_bound(ratio), name.startswith(_PARENT), blake2b(key, digest_size=_HASH_BYTES))

    def decide(self, given: bytes | None) -> tuple[bytes, bool]:
        """Return the context to continue, and whether its trace is sampled; without one, begin a trace."""
        if given is None or TRACEPARENT.fullmatch(given) is None:
            # Trace ids are not secret; a system call for each would cost more than the decision.
            given = b"00-%032x-%016x-00" % (random.getrandbits(128) or 1, random.getrandbits(64) or 1)
        elif self.asks_parent:
            return given, given[_FLAG] in _ODD
        hashing = self.keyed.copy()
        hashing.update(given[TRACE_ID])
        sampled = hashing.digest() < self.bound
        if sampled == (given[_FLAG] in _ODD):
            return given, sampled
        return b"%b-%02x%b" % (given[:52], int(given[53:55], 16) & ~1 | sampled, given[55:]), sampled


def is_sampled(context: bytes) -> bool:
    """Return the flag of a well-formed context."""
    return context[_FLAG] in _ODD


def _bound(ratio: float) -> bytes:
    """Return what the share `ratio` of all hashes is below."""
    if ratio == 1.0:
        return b"\xff" * (_HASH_BYTES + 1)  # a byte longer than any hash
    return int(ratio * (1 << 8 * _HASH_BYTES)).to_bytes(_HASH_BYTES, "big")


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"{RATIO}: must be a number from 0 to 1")
    return ratio
