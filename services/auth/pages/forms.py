"""Helpers of the page handlers: reading forms, and redirecting the browser."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.auth.pages.render import HEADERS
from services.auth.pages.same_origin import require_same_origin
from services.auth.settings import Settings
from shared.errors import BadRequest, Problem
from shared.http.inputs import read_body
from shared.http.schemas import Id
from shared.lists.pagination import PageQuery
from shared.words import words_of

M = TypeVar("M", bound=BaseModel)

FORM_BYTES_MAX = 64 * 1024
TOKEN_CHARACTERS_MAX = 100
UNPROCESSABLE = 422
_ID: TypeAdapter[str] = TypeAdapter(Id)
# The labels of form fields in messages.
_LABELS = {
    "email": "The e-mail address",
    "username": "The username",
    "password": "The password",
    "new_password": "The password",
    "current_password": "The password",
    "scopes": "The list of what it may do",
}


class FormFault(Exception):
    """An invalid form field; the message is shown to the person who submitted the form."""

    status = UNPROCESSABLE


REFUSALS = (FormFault, Problem)


def read_as(kind: type[M], form: Mapping[str, Any]) -> M:
    """Read the form as a model; empty fields count as omitted."""
    try:
        return kind.model_validate({name: form[name] for name in kind.model_fields if form.get(name)})
    except ValidationError as error:
        first = error.errors()[0]
        raise FormFault(f"{_label(first['loc'][0])} {words_of(first)}.") from error


def fault_of(error: Problem | FormFault) -> str:
    """Return the message for the person whose form was refused."""
    if isinstance(error, Problem) and error.errors:
        first = error.errors[0]
        return f"{_label(first['field'])} {first['message']}."
    return error.detail if isinstance(error, Problem) else str(error)


def _label(name: object) -> str:
    return _LABELS.get(str(name), f"The {str(name).replace('_', ' ')}")


def credential_of(form: dict[str, str]) -> dict[str, Any] | None:
    """Return the credential that a page's script has put into the form; empty if it is malformed."""
    text = form.get("credential")
    if not text:
        return None
    try:
        credential = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return credential if isinstance(credential, dict) else {}


def id_of(form: dict[str, str], name: str) -> str:
    """Return the id that a button of the page submits."""
    try:
        return _ID.validate_python(form.get(name))
    except ValidationError as error:
        raise BadRequest(f"{name} must be an id.") from error


def page_query_of(query: dict[str, str]) -> PageQuery:
    """Return the part of a list that a page shows."""
    cursor = query.get("cursor")
    try:
        return PageQuery(cursor=cursor) if cursor else PageQuery()
    except ValidationError as error:
        raise BadRequest("cursor does not belong to this list.") from error


def token_of(given: dict[str, str]) -> str:
    return given.get("token", "")[:TOKEN_CHARACTERS_MAX]


def query_of(request: Request) -> dict[str, str]:
    """Return the query parameters of a page; of a repeated parameter the last value."""
    return _pairs(request.scope["query_string"].decode("latin-1"), "query")


async def own_form(request: Request, settings: Settings) -> dict[str, str]:
    """Read a form, which must come from one of auth's own pages."""
    require_same_origin(request, settings)
    return _pairs((await read_body(request, FORM_BYTES_MAX)).decode("latin-1"), "form")


def _pairs(text: str, what: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100))
    except ValueError as error:
        raise BadRequest(f"The {what} has more than 100 fields.") from error


def see_other(url: str) -> Response:
    """Redirect with 303, so that the browser follows with GET and does not resend a form."""
    response = RedirectResponse(url, 303, headers=HEADERS)
    response.headers["location"] = url  # unchanged; RedirectResponse re-encodes it
    return response
