"""Exports of all data about the caller."""

from services.auth.errors import ExportNotReady, TooManyDownloads, TooManyExports
from services.auth.exports import handlers
from shared.errors import InvalidToken, NotFound
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import person

_ALL, _ONE = "/auth/me/exports", "/auth/me/exports/{export_id}"
_CALLER = (InvalidToken,)

OPERATIONS = [
    Operation(
        "POST",
        "/auth/me/export",
        handlers.request_export,
        access=person,
        step_up=RECENT,
        status=202,
        location="/auth/me/exports/{id}",
        errors=(*_CALLER, TooManyExports),
    ),
    Operation("GET", _ALL, handlers.list_exports, access=person, errors=_CALLER),
    Operation("GET", _ONE, handlers.show_export, access=person, errors=(*_CALLER, NotFound)),
    Operation("DELETE", _ONE, handlers.delete_export, access=person, status=204, errors=(*_CALLER, NotFound)),
    Operation(
        "GET",
        f"{_ONE}/archive",
        handlers.download_export,
        access=person,
        step_up=RECENT,
        answer_types=("application/zip",),
        errors=(*_CALLER, NotFound, ExportNotReady, TooManyDownloads),
    ),
]
