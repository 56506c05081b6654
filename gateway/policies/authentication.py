"""Authentication of the caller, and the route's rules for roles and scopes."""

from gateway.errors import FORBIDDEN, INSUFFICIENT_SCOPE, UNAUTHENTICATED, Refusal
from gateway.routing.claims import require_claims
from gateway.routing.table import Policy
from shared.caller import BROAD_SCOPES, Caller
from shared.errors import InsufficientScope, InvalidToken
from shared.identity.scopes import ADMIN
from shared.identity.tokens import bearer_token


def token_of(authorization: bytes | None) -> str | None:
    try:
        return bearer_token(None if authorization is None else authorization.decode("latin-1"))
    except InvalidToken as error:
        raise Refusal.of(error, UNAUTHENTICATED) from error


def is_open_to_strangers(policy: Policy) -> bool:
    return policy.auth != "required" and not policy.demands_of_caller


def require(policy: Policy, caller: Caller | None) -> None:
    """Enforce the route's access rules: any of its roles, all of its scopes and claims."""
    if caller is None:
        if not is_open_to_strangers(policy):
            raise Refusal(UNAUTHENTICATED, headers={"WWW-Authenticate": "Bearer"})
        return
    if policy.roles and caller.role not in policy.roles:
        raise Refusal(FORBIDDEN, f"This needs the role {' or '.join(sorted(policy.roles))}.")
    if policy.scopes and not all(_holds(caller, scope) for scope in policy.scopes):
        missing = " ".join(sorted(scope for scope in policy.scopes if not _holds(caller, scope)))
        raise Refusal.of(InsufficientScope(missing), INSUFFICIENT_SCOPE)
    require_claims(policy.claims, caller)


def _holds(caller: Caller, scope: str) -> bool:
    """Whether the token names this scope or one that covers it.

    The token of a person who signed in names no scopes. It has all scopes that services use: `admin`,
    `read`, `write`, and `read` and `write` of a resource. Any other scope has to be named in the token.
    """
    resource, _, action = scope.partition(":")
    is_of_services = resource == ADMIN or scope in BROAD_SCOPES or action in BROAD_SCOPES
    return scope in caller.scopes or (is_of_services and caller.may(scope))
