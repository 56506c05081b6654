"""Scopes, which limit what a token may be used for."""

import re
from dataclasses import replace

from shared.caller import Caller
from shared.errors import InsufficientScope, NotInteractive

ADMIN = "admin"
_NAME = re.compile(r"[a-z][a-z0-9_-]*:[a-z][a-z0-9_-]*")


def require_scope_name(scope: str | None, where: str) -> None:
    """Raise TypeError for a scope that is not a resource, a colon and an action."""
    if scope is not None and _NAME.fullmatch(scope) is None:
        raise TypeError(f"{where}: {scope!r} is not a scope, which is a resource, a colon and an action")


def limited(caller: Caller, scope: str | None) -> Caller:
    """Return the caller of a limited token for an operation that needs this scope, or refuse the token.

    An admin's token has admin rights only with the `admin:…` scope of the resource. Otherwise a client that
    may read an admin's own orders could read everyone's.
    """
    if scope is None:
        raise NotInteractive
    if not caller.may(scope):
        raise InsufficientScope(scope)
    resource = scope.partition(":")[0]
    admin_scope = scope if resource == ADMIN else f"{ADMIN}:{resource}"
    return caller if caller.may(admin_scope) else replace(caller, is_narrowed=True)
