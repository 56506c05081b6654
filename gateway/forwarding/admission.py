"""The steps that a request must pass before it is forwarded: one ordered tuple, the cheapest first."""

import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from gateway import errors
from gateway.errors import Refusal, too_large
from gateway.forwarding.transfer import Transfer
from gateway.http.framing import fault_of
from gateway.http.known_head import KnownHead
from gateway.policies.api_keys import caller_of, keys_shown
from gateway.policies.authentication import is_open_to_strangers, require, token_of
from gateway.policies.browser_sessions import cookie_of, is_from_our_pages, present
from gateway.policies.credential_exchange import ACCESS_KEY, CREDENTIAL_BYTES_MAX
from gateway.request import RequestState
from gateway.routing.table import ANYBODY, Route
from gateway.telemetry.metrics import record
from shared.errors import InvalidToken, Problem
from shared.peers.client import PeerRefusal

# A body of at most this size is received whole before a connection to a target is taken, so that a slow
# client does not occupy one. This much is buffered without a connection in any case.
COLLECTED_BYTES_MAX = 64 * 1024

Wait = Coroutine[Any, Any, None]


class Step(NamedTuple):
    """One step of admission. It raises Refusal, or returns None to go on with the next step.

    A step that has to wait returns a coroutine; the next step follows once it has finished. Admission
    ends if a step returns bytes, the headers of a preflight response. `foresee` makes the same decision
    without a running gateway, as far as that is possible. `settled` tells whether the step lets every
    request with a known head pass on a route: a GET or HEAD without a body, whose headers have passed it
    before.
    """

    decide: Callable[[Transfer], Wait | bytes | None]
    foresee: Callable[[RequestState], bytes | None]
    settled: Callable[[Route, KnownHead], bool] = lambda _route, _known: False


def check_framing(request: RequestState) -> None:
    if request.request.fault is not None:
        raise request.request.fault
    fault = fault_of(request.request, request.fields)
    if fault is not None:
        request.keep_alive = False
        raise fault


def check_expectation(request: RequestState) -> None:
    expected = request.fields.seen.get(b"expect")
    if expected is not None and expected.lower() != b"100-continue" and not request.request.is_http10:
        raise Refusal(errors.EXPECTATION_FAILED)


def check_address(request: RequestState) -> None:
    rule = request.policy.ip
    if rule is not ANYBODY and not rule.lets_in(request.address):
        raise Refusal(errors.IP_DENIED)


def answer_preflight(request: RequestState) -> bytes | None:
    seen = request.fields.seen
    if request.request.method != b"OPTIONS" or b"access-control-request-method" not in seen:
        return None
    origin = seen.get(b"origin")
    if origin is None:
        return None
    permission = request.cors.preflight_headers(origin, request.match.allow_header)
    if permission is None:
        raise Refusal(errors.ORIGIN_DENIED)
    return permission


def check_method(request: RequestState) -> None:
    route = request.route
    assert route is not None
    if not route.allows(request.request.method):
        raise Refusal(errors.METHOD_NOT_ALLOWED, headers={"Allow": request.match.allow_header})


def require_credentials(request: RequestState) -> None:
    """Refuse with 401 if the route needs a caller and the request carries no credentials."""
    policy = request.policy
    shows_credentials = b"authorization" in request.fields.seen or is_open_to_strangers(policy)
    shows_credentials = shows_credentials or (policy.api_keys and bool(keys_shown(request)))
    if not (shows_credentials or _is_public(request) or cookie_of(request) is not None):
        require(policy, None)


def _count_strangers(transfer: Transfer) -> None:
    if b"authorization" in transfer.fields.seen:
        return  # as in nearly every request
    try:
        require_credentials(transfer)
    except Refusal:
        _count_stranger(transfer)
        raise


def identify(transfer: Transfer) -> Wait | None:
    """Identify the caller by the API key, token or session cookie of the request."""
    known = transfer.known
    if known is not None and known.token is not None and transfer.policy.auth != "none":
        transfer.caller = transfer.gateway.verifier.remembered(known.token)
        if transfer.caller is not None:
            return None  # as in nearly every request
    return None if _is_public(transfer) else _identify(transfer)


def _identify(transfer: Transfer) -> Wait | None:
    gateway, policy, known = transfer.gateway, transfer.policy, transfer.known
    try:
        # A known head is without an API key, and with a well-formed token if it has one.
        if known is None and policy.api_keys:
            transfer.caller = caller_of(transfer, gateway.api_keys, gateway.verifier.revocations)
        if transfer.caller is not None:
            return None
        token = token_of(transfer.fields.seen.get(b"authorization")) if known is None else known.token
    except Refusal as refusal:
        if refusal.kind.status == 401:
            _count_failure(transfer)
        raise
    if token is None:
        # A known head is one of GET or HEAD, which pages of other sites may send as well.
        cookie, by_cookie = (
            (cookie_of(transfer), _identify_browser) if known is None else (known.cookie, _exchange)
        )
        return None if cookie is None else by_cookie(transfer, cookie)
    if token.startswith(ACCESS_KEY):
        return _exchange(transfer, token.encode()[:CREDENTIAL_BYTES_MAX])
    transfer.caller = gateway.verifier.remembered(token)
    if transfer.caller is not None:
        return None
    gateway.failures.require_few(transfer.address, time.monotonic())
    return _verify(transfer, token)


async def _verify(transfer: Transfer, token: str) -> None:
    try:
        transfer.caller = await transfer.gateway.verifier.verify(token)
    except InvalidToken as error:
        _count_failure(transfer)
        raise Refusal.of(error, errors.UNAUTHENTICATED) from error
    except Problem as error:
        raise Refusal.of(error, errors.UNAVAILABLE) from error


def _identify_browser(transfer: Transfer, cookie: bytes) -> Wait | None:
    """Identify the caller by the session cookie, unless another site may have sent the request."""
    if not is_from_our_pages(transfer):
        if is_open_to_strangers(transfer.policy):
            return None
        raise Refusal(errors.CROSS_SITE)
    return _exchange(transfer, cookie)


def _exchange(transfer: Transfer, credential: bytes) -> Wait | None:
    """Exchange a credential for an access token, which identifies the caller and is forwarded instead."""
    gateway = transfer.gateway
    token = gateway.exchange.remembered(credential)
    transfer.caller = None if token is None else gateway.verifier.remembered(token)
    if token is not None and transfer.caller is not None:
        present(transfer, token)
        return None
    gateway.failures.require_few(transfer.address, time.monotonic())
    return _ask_for_exchange(transfer, credential)


async def _ask_for_exchange(transfer: Transfer, credential: bytes) -> None:
    gateway, is_cookie = transfer.gateway, b"authorization" not in transfer.fields.seen
    try:
        token, transfer.caller = await gateway.exchange.caller_of(credential, gateway.verifier)
    except (InvalidToken, PeerRefusal) as error:
        gateway.exchange.forget(credential)
        _count_failure(transfer)
        if not is_cookie:
            raise Refusal.of(InvalidToken(), errors.UNAUTHENTICATED) from error
        if not is_open_to_strangers(transfer.policy):
            raise Refusal(errors.SESSION_OVER, headers={"WWW-Authenticate": "Bearer"}) from error
    except Problem as error:
        raise Refusal.of(error, errors.UNAVAILABLE) from error
    else:
        present(transfer, token)


def authorize(transfer: Transfer) -> None:
    """Check roles, scopes and claims, and require a caller where the route needs one."""
    policy = transfer.policy
    if transfer.caller is not None:
        if policy.roles or policy.scopes or policy.claims:
            require(policy, transfer.caller)
    elif not (is_open_to_strangers(policy) or _is_public(transfer)):
        require(policy, None)


def take_slot(transfer: Transfer) -> None:
    if transfer.policy.concurrency is not None:
        transfer.routing.slots[_route(transfer).name].take(transfer)


def count(transfer: Transfer) -> Wait | None:
    """Count the request for the rate limits of its route."""
    route = transfer.route
    assert route is not None
    limits = transfer.routing.limits[route.name]
    if limits.is_shared:
        return limits.take_shared(transfer)
    limits.take(transfer, time.monotonic())
    return None


def check_body(request: RequestState) -> None:
    announced = int(request.fields.seen.get(b"content-length", 0))
    length_max = request.policy.body_max
    if announced > length_max or request.received_bytes > length_max:
        raise too_large(length_max)


def _unknown(_request: RequestState) -> None:
    """Only a running gateway can decide this step."""


def _always(_route: Route, _known: KnownHead) -> bool:
    return True


def _shows_credentials(_route: Route, known: KnownHead) -> bool:
    return known.cookie is not None or b"authorization" in known.fields.seen


def _is_open(route: Route, _known: KnownHead) -> bool:
    return route.policy.auth == "none"  # paths that are public without it are those of POST


STEPS = (
    Step(check_framing, check_framing, _always),
    Step(check_expectation, check_expectation, _always),
    Step(check_address, check_address, lambda route, _known: route.policy.ip is ANYBODY),
    Step(answer_preflight, answer_preflight, _always),
    Step(check_method, check_method, lambda route, _known: b"GET" in route.policy.methods),
    Step(_count_strangers, require_credentials, _shows_credentials),
    Step(identify, _unknown, _is_open),
    Step(authorize, _unknown, _is_open),
    Step(take_slot, _unknown, lambda route, _known: route.policy.concurrency is None),
    Step(count, _unknown),
    Step(check_body, check_body, _always),
)


# A separate tuple saves attribute lookups in the loop that every request runs through.
DECISIONS = tuple(step.decide for step in STEPS)


def decisions_for(transfer: Transfer) -> tuple[Callable[[Transfer], Wait | bytes | None], ...]:
    """Return the decisions about a request; for a known head, only those that its route leaves open."""
    known, route = transfer.known, transfer.route
    if known is None or route is None:
        return DECISIONS
    if known.decisions_of is not route:
        known.decisions = tuple(step.decide for step in STEPS if not step.settled(route, known))
        known.decisions_of = route
    return known.decisions


def collects_body(request: RequestState) -> bool:
    """Whether to receive the rest of a small body before a connection to a target is taken."""
    seen = request.fields.seen
    if request.request_complete or b"expect" in seen:
        return False
    is_chunked = b"transfer-encoding" in seen
    length_max = request.policy.body_max if is_chunked else int(seen.get(b"content-length", 0))
    return 0 < length_max <= COLLECTED_BYTES_MAX


def dismiss(transfer: Transfer) -> None:
    """Free the slot of a request that has ended, and record the request."""
    route = transfer.route
    if route is not None and route.policy.concurrency is not None:
        transfer.routing.slots[route.name].free(transfer)
    record(transfer)


def _count_failure(transfer: Transfer) -> None:
    """Count an invalid token or key. After too many, none from that network are verified for a while."""
    transfer.gateway.failures.add(transfer.address, time.monotonic())
    _count_stranger(transfer)


def _count_stranger(transfer: Transfer) -> None:
    """Count a request that is refused for lack of a caller against the limits of its route."""
    transfer.routing.limits[_route(transfer).name].take_refused(transfer, time.monotonic())


def _route(request: RequestState) -> Route:
    assert request.route is not None
    return request.route


def _is_public(request: RequestState) -> bool:
    route = request.route
    assert route is not None
    return route.is_public(request.request.method, request.match.path)
