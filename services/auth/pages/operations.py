"""Builders of the operations of pages and forms."""

from collections.abc import Callable, Mapping
from typing import Any

from services.auth.errors import ForeignForm
from shared.errors import BadRequest, TooLarge
from shared.http.operations import Operation
from shared.identity.tokens import public

Handler = Callable[..., Any]

FORM, PAGE_TYPE = "application/x-www-form-urlencoded", "text/html"
HTML = (PAGE_TYPE,)
FOREIGN = (ForeignForm, BadRequest, TooLarge)
LOOKED_AT = {400: PAGE_TYPE}
_FILLED_IN = {303: "", **dict.fromkeys((400, 401, 403, 409, 422, 429), PAGE_TYPE)}


def form(path: str, action: str | None, take: Handler, also: Mapping[int, str] = _FILLED_IN) -> Operation:
    """Return the operation that accepts a submitted form."""
    return Operation(
        "POST",
        path,
        take,
        access=public,
        errors=FOREIGN,
        body_type=FORM,
        answer_types=HTML,
        also=also,
        action=action,
    )


def shown(path: str, show: Handler, also: Mapping[int, str] = LOOKED_AT) -> Operation:
    """Return the operation that shows a page."""
    return Operation("GET", path, show, access=public, errors=(BadRequest,), answer_types=HTML, also=also)


def page_with_form(
    path: str, action: str, show: Handler, take: Handler, also: Mapping[int, str] = LOOKED_AT
) -> list[Operation]:
    """Return the two operations of a page with a form: showing and submitting it."""
    return [shown(path, show, also), form(path, action, take)]
