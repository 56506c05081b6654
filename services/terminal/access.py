"""Access to shells: without isolation, only clients on the same machine may open them."""

from ipaddress import ip_address
from typing import Any

from sqlalchemy import select
from sqlmodel import Session
from starlette.requests import HTTPConnection

from services.terminal.backends.base import Backend
from services.terminal.errors import NotLocal
from services.terminal.models import TERMINALS
from services.terminal.settings import Settings
from shared.caller import Caller
from shared.data.database import one_row
from shared.errors import NotFound
from shared.http.sockets import own_authority
from shared.process.proxies import Proxies

# Scopes. A caller who may only read sees what a terminal shows, but cannot type into it.
READ, WRITE = "terminal:read", "terminal:write"
# Changing files needs WRITE: a changed `.bashrc` runs commands in the next shell.
READ_FILES = "workspace:read"
LOCAL_NAMES = frozenset(("localhost", "[::1]"))


class Door:
    """Checks the origin of a request before it reaches a shell."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._is_local = backend.name == "process"
        self._proxies = Proxies(settings.trusted_proxies)

    def require_local(self, connection: HTTPConnection) -> None:
        """Refuse clients on other machines.

        The host name is checked as well, against DNS rebinding: a page of another site whose name resolves to
        this machine could otherwise sign in and open a shell.
        """
        if not self._is_local:
            return
        address = self._proxies.address_of(connection)
        authority = own_authority(connection, self._proxies.trusts)
        if not (_is_loopback(address) and _is_local_name(_host_of(authority))):
            raise NotLocal

    def require_here(self, connection: HTTPConnection) -> None:
        """Refuse clients on other machines. Names of ports need no check: no other site can choose one."""
        if self._is_local and not _is_loopback(self._proxies.address_of(connection)):
            raise NotLocal


def may_type(caller: Caller) -> bool:
    """Return whether the caller may write in terminals.

    An admin who impersonates an account may only watch: what they type could outlast the impersonation.
    """
    return caller.may(WRITE) and caller.impersonator_id is None


def own_terminal(session: Session, terminal_id: str, owner: str) -> dict[str, Any]:
    """Return the row of a terminal; raises NotFound if it belongs to someone else."""
    row = one_row(session, select(TERMINALS).where(TERMINALS.c.id == terminal_id))
    if row is None or row["owner"] != owner:
        raise NotFound
    return row


def _host_of(authority: str) -> str:
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.rpartition(":")[0] if ":" in authority else authority


def _is_local_name(host: str) -> bool:
    return host.lower() in LOCAL_NAMES or _is_loopback(host)


def _is_loopback(text: str) -> bool:
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False
