"""Impersonation by admins."""

from services.auth.errors import CannotImpersonate, ImpersonationOff
from services.auth.impersonation import handlers
from shared.errors import InvalidToken, NotFound, NotInteractive
from shared.http.operations import Operation
from shared.identity.step_up import StepUp
from shared.identity.tokens import admin

_PATH = "/auth/accounts/{account_id}/impersonation"

OPERATIONS = [
    Operation(
        "POST",
        _PATH,
        handlers.impersonate,
        access=admin,
        scope="admin:users",
        step_up=StepUp(max_age=15 * 60),
        status=201,
        errors=(InvalidToken, NotInteractive, NotFound, ImpersonationOff, CannotImpersonate),
    ),
    Operation(
        "DELETE",
        _PATH,
        handlers.end_impersonations,
        access=admin,
        scope="admin:users",
        status=204,
        errors=(NotFound,),
    ),
]
