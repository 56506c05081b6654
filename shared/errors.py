"""Refusals: one class per reason, with a status and a stable code, sent as RFC 9457 problems."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypedDict

PROBLEM_JSON = "application/problem+json"


class FieldFault(TypedDict):
    """A fault in one field of the input."""

    field: str
    code: str
    message: str


class Problem(Exception):
    """A refusal shown to the caller. Each subclass is one reason; its docstring is the default detail."""

    status: int = 500
    code: str = "internal_error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldFault] = (),
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        self.detail = detail or first_line(type(self).__doc__)
        self.errors = errors
        self.headers = dict(headers or {})
        self.extensions = extensions
        super().__init__(self.detail)


class BadRequest(Problem):
    """The request cannot be understood."""

    status = 400
    code = "bad_request"


class Unauthenticated(Problem):
    """A valid bearer token is needed. Sign in at /auth/login and send `Authorization: Bearer <token>`."""

    status = 401
    code = "unauthenticated"

    def __init__(self, detail: str | None = None, *, error: str | None = None) -> None:
        challenge = f'Bearer error="{error}"' if error else "Bearer"
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class InvalidToken(Unauthenticated):
    """The bearer token is malformed, expired, revoked or not for this audience. Sign in again."""

    code = "invalid_token"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, error="invalid_token")


class SignInAgain(Unauthenticated):
    """This requires a newer or stronger sign-in. Sign in again, or use /auth/me/step-up."""

    code = "insufficient_user_authentication"

    def __init__(self, max_age: int | None = None, acr: str | None = None) -> None:
        """Set the challenge of RFC 9470, which states the sign-in that the client must request."""
        super().__init__(error=self.code)
        wanted = {"max_age": max_age and str(max_age), "acr_values": acr}
        for name, value in wanted.items():
            if value is not None:
                self.headers["WWW-Authenticate"] += f', {name}="{value}"'


class Forbidden(Problem):
    """Your account may not do this."""

    status = 403
    code = "forbidden"


class InsufficientScope(Forbidden):
    """The token lacks the scope that is named in `scope`."""

    code = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
        detail = f"The token lacks the scope {scope}."
        super().__init__(detail, headers={"WWW-Authenticate": challenge}, scope=scope)


class NotInteractive(Forbidden):
    """Only a signed-in person may do this, not a program on their behalf."""

    code = "not_interactive"


class Impersonated(Forbidden):
    """You are impersonating this account; only its owner may do this."""

    code = "impersonated"


class NotFound(Problem):
    """This does not exist, or it belongs to someone else."""

    status = 404
    code = "not_found"


class MethodNotAllowed(Problem):
    """This path does not accept that method; the Allow header lists those it accepts."""

    status = 405
    code = "method_not_allowed"


class Conflict(Problem):
    """The current state does not allow this."""

    status = 409
    code = "conflict"


class Stale(Problem):
    """It has changed since you read it. Read it again and repeat the change with the new ETag."""

    status = 412
    code = "stale"


class TooLarge(Problem):
    """The body is larger than this path accepts."""

    status = 413
    code = "body_too_large"


class UnsupportedMediaType(Problem):
    """The body must be JSON: send `Content-Type: application/json`."""

    status = 415
    code = "unsupported_media_type"


class Invalid(Problem):
    """Some fields are invalid; `errors` lists them."""

    status = 422
    code = "validation_failed"


class TooManyRequests(Problem):
    """Too many requests; try again after the time in Retry-After."""

    status = 429
    code = "rate_limited"


class Overloaded(Problem):
    """The service is busy; try again in a moment."""

    status = 503
    code = "overloaded"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


class Unavailable(Problem):
    """A dependency of this request is unreachable; try again in a moment."""

    status = 503
    code = "unavailable"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


def no_such_address(path: str) -> str:
    """Return the detail for a path without a route."""
    slash = " Remove the trailing slash." if path != "/" and path.endswith("/") else ""
    return f"This path does not exist; /docs lists all paths.{slash}"


class DiskFull(Problem):
    """The server's disk is nearly full, so it accepts no new data; reading and deleting still work.

    The operator must free disk space; no restart is needed. Try again later.
    """

    status = 507
    code = "disk_full"

    def __init__(self) -> None:
        super().__init__(
            "The server's disk is nearly full, so it accepts no new data. Reading and deleting still work. "
            "Try again later, or ask the operator to free disk space.",
            headers={"Retry-After": "60"},
        )


def problem_body(
    status: int,
    code: str,
    detail: str,
    request_id: str | None,
    errors: Sequence[FieldFault] = (),
    extensions: Mapping[str, Any] | None = None,
) -> bytes:
    """Serialise a refusal as problem+json."""
    body = {
        "type": "about:blank",
        "title": _phrase(status) or code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "error": _one_line(detail, errors),
        "code": code,
        "request_id": request_id,
        **(extensions or {}),
    }
    if errors:
        body["errors"] = list(errors)
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _one_line(detail: str, errors: Sequence[FieldFault]) -> str:
    """Return the text for clients that show nothing but `error`: the first fault, if there is any."""
    if not errors:
        return detail
    first = errors[0]
    return first["message"] if first["field"] == "body" else f"{first['field']}: {first['message']}"


def _phrase(status: int) -> str | None:
    """Return the standard phrase; None for the extra statuses of protocols on top of HTTP."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return None


def first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
