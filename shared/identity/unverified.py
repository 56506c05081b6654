"""Reads tokens (JWT) without verifying them: before their signature is checked, or to explain them."""

import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Unverified:
    """The content of a JWT whose signature was not checked."""

    header: dict[str, Any]
    claims: dict[str, Any]


def read_unverified(token: str, *, allows_duplicates: bool = False) -> Unverified | None:
    """Return the content of a JWT; None for anything else, and for objects with duplicate members.

    Of duplicate members, some parsers take the first and others the last.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    pairs = dict if allows_duplicates else each_once
    try:
        header, claims = (
            json.loads(urlsafe_b64decode(f"{part}=="), object_pairs_hook=pairs) for part in parts[:2]
        )
    except (ValueError, RecursionError):
        return None
    return Unverified(header, claims) if isinstance(header, dict) and isinstance(claims, dict) else None


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse objects with duplicate members; an `object_pairs_hook`."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member is given twice")
    return found
