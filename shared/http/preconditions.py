"""Conditional requests: If-Match for changes, If-None-Match for lists.

A change is refused if the row has changed since the caller read it. A list that is as the caller knows it is
not sent again.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from shared.errors import Stale


@dataclass(frozen=True, slots=True)
class IfMatch:
    """The versions a change may start from; any version if the header is missing or `*`."""

    tags: frozenset[str] | None

    @classmethod
    def parse(cls, header: str | None) -> "IfMatch":
        if header is None or header.strip() == "*":
            return cls(None)
        return cls(frozenset(tag.strip() for tag in header.split(",")))

    def check(self, version: int) -> None:
        """Raise Stale unless the row is still at one of these versions."""
        if self.tags is not None and etag(version) not in self.tags:
            raise Stale


def etag(version: int) -> str:
    return f'"{version}"'


class ListTags:
    """Makes the tags of pages: keyed hashes of what is sent, and to whom.

    An admin's reads are recorded, except those of a page that the admin was shown before (304). So a tag must
    come from an earlier read of the same list by the same account. With a plain hash, the tag of a guessed
    page, such as an empty one, would reveal without a record whether the guess is right.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def tag(self, body: bytes, headers: Iterable[tuple[str, str]], target: str, caller_id: str | None) -> str:
        digest = hashlib.blake2b(body, digest_size=16, key=self._key)
        for part in (target, caller_id or "", *(f"{name}: {value}" for name, value in headers)):
            digest.update(b"\n" + part.encode())
        return f'W/"{digest.hexdigest()}"'


def is_known(tag: str, if_none_match: str | None) -> bool:
    """Whether the caller has the page with this tag (RFC 9110, 13.1.2: a weak comparison).

    `*` would fit every page, so a list could be watched without ever being shown, and without a record.
    """
    if if_none_match is None:
        return False
    return tag.removeprefix("W/") in (one.strip().removeprefix("W/") for one in if_none_match.split(","))
