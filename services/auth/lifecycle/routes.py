"""Registration, invitations, e-mail addresses and forgotten passwords."""

from services.auth.errors import (
    AlreadyVerified,
    EmailTaken,
    InvalidLink,
    LoginThrottled,
    RegistrationClosed,
    SignInToConfirm,
    UsernameTaken,
    WrongPassword,
)
from services.auth.lifecycle import handlers, registration
from shared.errors import Impersonated, InvalidToken, NotFound, NotInteractive, SignInAgain
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import admin, person, person_or_nobody, public

_INVITATIONS = "/auth/invitations"
_SCOPE = "admin:users"

OPERATIONS = [
    Operation(
        "POST",
        "/auth/register",
        registration.register,
        access=public,
        status=201,
        errors=(EmailTaken, UsernameTaken, RegistrationClosed, LoginThrottled),
        also={202: "application/json"},
    ),
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
        access=person_or_nobody,
        status=204,
        errors=(InvalidLink, EmailTaken, SignInToConfirm, NotInteractive, Impersonated, InvalidToken),
    ),
    Operation(
        "POST",
        _INVITATIONS,
        handlers.invite,
        access=admin,
        scope=_SCOPE,
        step_up=RECENT,
        status=201,
        errors=(EmailTaken,),
    ),
    Operation("GET", _INVITATIONS, handlers.list_invitations, access=admin, scope=_SCOPE),
    Operation(
        "DELETE",
        f"{_INVITATIONS}/{{invitation_id}}",
        handlers.withdraw_invitation,
        access=admin,
        scope=_SCOPE,
        status=204,
        errors=(NotFound,),
    ),
    Operation(
        "POST",
        f"{_INVITATIONS}/accept",
        handlers.accept_invitation,
        access=public,
        status=201,
        errors=(InvalidLink, EmailTaken, UsernameTaken),
    ),
    Operation(
        "PUT",
        "/auth/me/email",
        handlers.change_my_email,
        access=person,
        status=202,
        errors=(InvalidToken, WrongPassword, LoginThrottled, SignInAgain),
    ),
    Operation(
        "POST",
        "/auth/me/email/verification",
        handlers.verify_my_email,
        access=person,
        status=202,
        errors=(InvalidToken, AlreadyVerified),
    ),
]
