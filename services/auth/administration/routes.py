"""Accounts, for admins and for other services of the suite."""

from services.auth.administration import admin_handlers, classic_handlers, handlers
from services.auth.errors import EmailTaken, LastAdmin, UsernameTaken
from shared.errors import BadRequest, NotFound
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import admin, internal

_TAKEN = (EmailTaken, UsernameTaken)
_ACCOUNTS, _ACCOUNT = "/internal/accounts", "/internal/accounts/{account_id}"

_CLASSIC, _CLASSIC_USER = "/classic/admin/users", "/classic/admin/users/{account_id}"
_ADMIN, _SCOPE = "/auth/accounts/{account_id}", "admin:users"

OPERATIONS = [
    Operation("GET", "/auth/accounts", admin_handlers.list_accounts, access=admin, scope=_SCOPE),
    Operation("GET", "/auth/users", admin_handlers.list_sign_ins_of_users, access=admin, scope=_SCOPE),
    Operation("GET", _ADMIN, admin_handlers.show_account_details, access=admin, scope=_SCOPE),
    Operation(
        "PATCH",
        _ADMIN,
        admin_handlers.administer_account,
        access=admin,
        scope=_SCOPE,
        step_up=RECENT,
        errors=(NotFound, LastAdmin),
    ),
    Operation(
        "POST",
        f"{_ADMIN}/sign-out",
        admin_handlers.sign_out_account,
        access=admin,
        scope=_SCOPE,
        step_up=RECENT,
        status=204,
        errors=(NotFound,),
    ),
    Operation(
        "POST",
        f"{_ADMIN}/reset-factors",
        admin_handlers.reset_account_factors,
        access=admin,
        scope=_SCOPE,
        step_up=RECENT,
        status=204,
        errors=(NotFound,),
    ),
    Operation("GET", _CLASSIC, classic_handlers.classic_users, access=admin, scope=_SCOPE),
    Operation(
        "POST",
        _CLASSIC,
        classic_handlers.classic_add_user,
        access=admin,
        scope=_SCOPE,
        step_up=RECENT,
        status=201,
        errors=_TAKEN,
    ),
    Operation(
        "PUT",
        _CLASSIC_USER,
        classic_handlers.classic_change_user,
        access=admin,
        scope=_SCOPE,
        step_up=RECENT,
        errors=(NotFound, *_TAKEN, LastAdmin),
    ),
    Operation(
        "DELETE",
        _CLASSIC_USER,
        classic_handlers.classic_delete_user,
        access=admin,
        scope=_SCOPE,
        step_up=RECENT,
        errors=(BadRequest, NotFound, LastAdmin),
    ),
    Operation(
        "POST",
        _ACCOUNTS,
        handlers.create_account,
        access=internal,
        status=201,
        location="/internal/accounts/{id}",
        errors=_TAKEN,
    ),
    Operation("GET", _ACCOUNTS, handlers.find_accounts, access=internal),
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
