"""Who is calling: the address behind trusted proxies, and the account behind a token."""

from functools import lru_cache
from ipaddress import ip_address

from gateway.errors import FORBIDDEN, UNAUTHENTICATED, Refusal
from gateway.settings import Network
from gateway.table import Policy
from shared.errors import InvalidToken
from shared.identity import Caller, bearer_token


class Proxies:
    """The proxies in front of the gateway whose X-Forwarded-* are believed."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks
        self.trusts = lru_cache(maxsize=4096)(self._trusts) if networks else _nobody

    def client_address(self, peer: str, forwarded_for: bytes | None) -> str:
        """The right-most address that is not one of ours; what stands left of it anybody may have written."""
        if forwarded_for is None or not self.trusts(peer):
            return peer
        address = peer
        for part in reversed(forwarded_for.decode("latin-1").split(",")):
            candidate = part.strip()
            if not _is_address(candidate):
                break
            address = candidate
            if not self.trusts(address):
                break
        return address

    def _trusts(self, address: str) -> bool:
        if not _is_address(address):
            return False
        ip = ip_address(address)
        return any(ip in network for network in self._networks)


def token_of(authorization: bytes | None) -> str | None:
    try:
        return bearer_token(None if authorization is None else authorization.decode("latin-1"))
    except InvalidToken as error:
        raise Refusal.of(error, UNAUTHENTICATED) from error


def require(policy: Policy, caller: Caller | None) -> None:
    """The route's access rule; several roles mean any of them, several scopes mean all."""
    if caller is None:
        if policy.auth == "required" or policy.roles or policy.scopes:
            raise Refusal(UNAUTHENTICATED, headers={"WWW-Authenticate": "Bearer"})
        return
    if policy.roles and caller.role not in policy.roles:
        raise Refusal(FORBIDDEN, f"This needs the role {' or '.join(sorted(policy.roles))}.")
    if not policy.scopes <= caller.scopes:
        missing = " ".join(sorted(policy.scopes - caller.scopes))
        challenge = f'Bearer error="insufficient_scope", scope="{missing}"'
        raise Refusal(FORBIDDEN, f"The token lacks the scope {missing}.", {"WWW-Authenticate": challenge})


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _nobody(_address: str) -> bool:
    return False
