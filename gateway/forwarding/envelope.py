"""The `{success, message, data, meta, errors}` envelope of /api/v1, implemented once for all services."""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from shared.caller import Caller
from shared.clock import timestamp

LIMIT_DIGITS_MAX = 18
EXTRAS_MAX = 20
# The numeric members of a structured-field dictionary (RFC 9651).
_EXTRA = re.compile(r"([a-z][a-z0-9_]{0,39})=(-?(?:[0-9]{1,15}|[0-9]{1,12}\.[0-9]{1,3}))")
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next"?')


def wrap(
    status: int,
    body: bytes,
    request_id: str,
    caller: Caller | None,
    *,
    pagination: Mapping[str, Any] | None = None,
    extras: str | None = None,
) -> bytes:
    if status >= 400:
        return wrap_problem(body, request_id, caller, status)
    # The body is already JSON. It is inserted as received, so that numbers keep their digits.
    return b'{"success":true,"message":%b,"data":%b,"meta":%b,"errors":[]}' % (
        _dump(_phrase(status)),
        body.strip() or b"null",
        _dump({**_page_extras(extras), **_meta(request_id, caller, pagination)}),
    )


def wrap_problem(body: bytes, request_id: str, caller: Caller | None, status: int = 500) -> bytes:
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    message = str(problem.get("detail") or problem.get("title") or _phrase(status))
    faults = problem.get("errors")
    if not isinstance(faults, list) or not faults:
        faults = [{"code": str(problem.get("code", "error")), "message": message}]
    return _dump(
        {
            "success": False,
            "message": message,
            "data": None,
            "meta": _meta(request_id, caller, None),
            "errors": faults,
        }
    )


def page_links(link: str | None, path: str) -> dict[str, Any] | None:
    """Convert `Link: <…>; rel="next"` to the envelope's pagination."""
    found = _NEXT.search(link) if link else None
    if found is None:
        return None
    target = found[1]
    if target.startswith("?"):
        target = path.partition("?")[0] + target
    limit = parse_qs(target.partition("?")[2].partition("#")[0]).get("limit", [""])[0]
    is_number = limit.isascii() and limit.isdigit() and len(limit) <= LIMIT_DIGITS_MAX
    return {"next": target, "limit": int(limit) if is_number else None}


def _page_extras(header: str | None) -> dict[str, int | float]:
    """Parse numbers about a whole list, `total=120, average=4.25`; other members are ignored."""
    members = header.split(",", EXTRAS_MAX)[:EXTRAS_MAX] if header else []
    found = (_EXTRA.fullmatch(member.strip(" \t")) for member in members)
    numbers = {one[1]: float(one[2]) if "." in one[2] else int(one[2]) for one in found if one is not None}
    numbers.pop("pagination", None)  # the other members of `meta` overwrite extras of the same name
    return numbers


def _phrase(status: int) -> str:
    """Return the reason phrase of a status; services may use codes without a standard phrase."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


def _meta(request_id: str, caller: Caller | None, pagination: Mapping[str, Any] | None) -> dict[str, Any]:
    actor = {"user_id": caller and caller.id, "client_id": None, "role": caller and caller.role}
    meta = {"timestamp": timestamp(), "request_id": request_id, "version": "v1", "actor": actor}
    return meta if pagination is None else {**meta, "pagination": pagination}


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
