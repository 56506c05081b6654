"""The life of an account: a forgotten password, and addresses that are confirmed."""

from services.auth.errors import AlreadyVerified, InvalidLink, LoginThrottled
from services.auth.lifecycle import handlers
from shared.errors import InvalidToken
from shared.http.operations import Operation
from shared.identity.tokens import public

OPERATIONS = [
    Operation(
        "POST",
        "/auth/password/forgot",
        handlers.forgot_password,
        access=public,
        status=202,
        errors=(LoginThrottled,),
    ),
    Operation(
        "POST",
        "/auth/password/reset",
        handlers.reset_password,
        access=public,
        status=204,
        errors=(InvalidLink,),
    ),
    Operation(
        "POST",
        "/auth/email/confirm",
        handlers.confirm_email,
        access=public,
        status=204,
        errors=(InvalidLink,),
    ),
    Operation(
        "POST",
        "/auth/me/email/verification",
        handlers.verify_my_email,
        status=202,
        errors=(InvalidToken, AlreadyVerified),
    ),
]
