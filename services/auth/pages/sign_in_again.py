"""The sign-in page after a refusal."""

from starlette.responses import Response

from services.auth.errors import LoginThrottled
from services.auth.pages.visit import Visit

TOO_LATE = "Too much time has passed, or too many codes were wrong. Sign in again."
_THROTTLED = "Too many attempts. Wait {seconds} seconds and try again."


async def sign_in_again(visit: Visit, fault: str, after: str, name: str = "") -> Response:
    await visit.trail.keep(refused_with=401)
    return visit.show("sign_in", 401, next=after, name=name, fault=fault)


async def wait(visit: Visit, error: LoginThrottled, after: str, name: str = "") -> Response:
    await visit.trail.keep(refused_with=error.status)
    wait = error.headers["Retry-After"]
    response = visit.show("sign_in", 429, next=after, name=name, fault=_THROTTLED.format(seconds=wait))
    response.headers["Retry-After"] = wait
    return response
