"""Who may see the gateway's state on the public port: admins, by token, personal key or session cookie."""

import time

from starlette.requests import Request

from gateway import errors
from gateway.errors import Refusal
from gateway.policies.authentication import token_of
from gateway.policies.browser_sessions import split_cookies
from gateway.policies.credential_exchange import ACCESS_KEY, CREDENTIAL_BYTES_MAX
from gateway.runtime.gateway import Gateway
from shared.caller import Caller
from shared.errors import InvalidToken, Problem
from shared.identity.same_origin import is_same_origin
from shared.identity.scopes import limited
from shared.identity.tokens import admin
from shared.peers.client import PeerRefusal
from shared.process.observe import CALLER

SCOPE = "admin:gateway"


class Access:
    """Verifies callers with the same caches, revocations and limits as forwarded requests."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def address_of(self, request: Request) -> str:
        return self._gateway.rules.proxies.address_of(request)

    async def require_admin(self, request: Request) -> Caller:
        """Return the caller, or refuse the request."""
        caller = await self._identify(request)
        request.scope[CALLER] = caller.id
        try:
            caller = limited(caller, SCOPE) if caller.is_limited else caller
            admin(caller)
        except Problem as error:
            raise Refusal.of(error, errors.FORBIDDEN) from error
        return caller

    async def _identify(self, request: Request) -> Caller:
        address = self.address_of(request)
        try:
            token, credential = self._shown(request)
            remembered = self._remembered(token, credential)
            if remembered is not None:
                return remembered
            self._gateway.failures.require_few(address, time.monotonic())
            if token is not None:
                return await self._gateway.verifier.verify(token)
            is_cookie = "authorization" not in request.headers
            return await self._exchanged(credential, address, is_cookie=is_cookie)
        except InvalidToken as error:
            self._gateway.failures.add(address, time.monotonic())
            raise Refusal.of(error, errors.UNAUTHENTICATED) from error
        except Problem as error:
            raise Refusal.of(error, errors.UNAVAILABLE) from error

    def _shown(self, request: Request) -> tuple[str | None, bytes]:
        """Return the token of a request, or None and the credential that is exchanged for one."""
        token = token_of(request.headers.get("authorization", "").encode("latin-1") or None)
        if token is not None:
            if not token.startswith(ACCESS_KEY):
                return token, b""
            return None, token.encode()[:CREDENTIAL_BYTES_MAX]
        cookies = b"; ".join(value for name, value in request.scope["headers"] if name == b"cookie")
        cookie, _ = split_cookies(cookies, self._gateway.rules.session_cookie)
        if cookie is None:
            raise Refusal(errors.UNAUTHENTICATED, headers={"WWW-Authenticate": "Bearer"})
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        is_ours = request.method in ("GET", "HEAD") or is_same_origin(
            site, origin, self._gateway.rules.origin
        )
        if not is_ours:
            raise Refusal(errors.CROSS_SITE)
        return None, cookie

    def _remembered(self, token: str | None, credential: bytes) -> Caller | None:
        """Return a caller who was verified before; failures of others in the network do not concern them."""
        token = self._gateway.exchange.remembered(credential) if token is None else token
        return None if token is None else self._gateway.verifier.remembered(token)

    async def _exchanged(self, credential: bytes, address: str, *, is_cookie: bool) -> Caller:
        try:
            return (await self._gateway.exchange.caller_of(credential, self._gateway.verifier))[1]
        except (InvalidToken, PeerRefusal) as error:
            self._gateway.exchange.forget(credential)
            self._gateway.failures.add(address, time.monotonic())
            if is_cookie:
                raise Refusal(errors.SESSION_OVER, headers={"WWW-Authenticate": "Bearer"}) from error
            raise Refusal.of(InvalidToken(), errors.UNAUTHENTICATED) from error
