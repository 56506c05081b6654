"""Accounts, for other services of the suite."""

from services.auth.administration import handlers
from services.auth.errors import EmailTaken, LastAdmin, UsernameTaken
from shared.errors import NotFound
from shared.http.operations import Operation
from shared.identity.tokens import internal

_TAKEN = (EmailTaken, UsernameTaken)
_ACCOUNTS, _ACCOUNT = "/internal/accounts", "/internal/accounts/{account_id}"

OPERATIONS = [
    Operation(
        "POST",
        _ACCOUNTS,
        handlers.create_account,
        access=internal,
        status=201,
        location="/internal/accounts/{id}",
        errors=_TAKEN,
    ),
    Operation("GET", _ACCOUNT, handlers.show_account, access=internal),
    Operation(
        "PATCH",
        _ACCOUNT,
        handlers.change_account,
        access=internal,
        errors=(NotFound, *_TAKEN, LastAdmin),
    ),
    Operation(
        "DELETE",
        f"{_ACCOUNT}/factors",
        handlers.reset_factors,
        access=internal,
        status=204,
        errors=(NotFound,),
    ),
    Operation(
        "DELETE",
        _ACCOUNT,
        handlers.delete_account,
        access=internal,
        status=204,
        errors=(NotFound, LastAdmin),
    ),
]
