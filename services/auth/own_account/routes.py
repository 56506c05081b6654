"""The caller's own account."""

from services.auth.errors import LoginThrottled, WrongPassword
from services.auth.own_account import handlers
from shared.errors import InvalidToken
from shared.http.operations import Operation

OPERATIONS = [
    Operation("GET", "/auth/me", handlers.show_me, errors=(InvalidToken,)),
    Operation(
        "PUT",
        "/auth/me/password",
        handlers.change_password,
        status=204,
        errors=(InvalidToken, WrongPassword, LoginThrottled),
    ),
]
