"""Handlers for leases of ports."""

import asyncio
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from sqlmodel import Session
from starlette.requests import Request

from services.terminal.access import Door
from services.terminal.boxes import Boxes
from services.terminal.errors import PortsOff
from services.terminal.models import Visibility
from services.terminal.ports import leases
from services.terminal.ports.gate import ENTER
from services.terminal.ports.tunnels import Tunnels
from services.terminal.schemas import LeasePort, PortOut, VisitOut
from services.terminal.settings import Settings
from shared.caller import Caller
from shared.data.database import Database
from shared.http.schemas import Id
from shared.http.trail import Trail
from shared.identity.tokens import in_person
from shared.process.public_address import absolute

PROBE_SECONDS = 5.0  # a port without a program refuses at once


def lease_port(
    body: LeasePort,
    caller: Caller,
    request: Request,
    session: Session,
    door: Door,
    settings: Settings,
    trail: Trail,
) -> PortOut:
    """Give a port of your box a host name of its own until the lease expires.

    `private` ports open only for you, `members` for every account, `public` for everybody who knows the URL.
    """
    door.require_local(request)
    if not settings.ports_host:
        raise PortsOff
    row = leases.lease(session, caller.id, body.model_dump(), settings.ports_per_user)
    trail.resource = row["id"]
    trail.add(port=row["port"], visibility=row["visibility"], hours=body.hours)
    return _shown(row, request, settings)


async def list_ports(
    caller: Caller, request: Request, database: Database, boxes: Boxes, tunnels: Tunnels, settings: Settings
) -> list[PortOut]:
    """List your leased ports by number, and whether a program listens at each."""
    rows = await database.read(leases.of_owner, caller.id)
    place = await boxes.running(caller.id) if rows else None
    probes = [tunnels.is_listening(place, row["port"], PROBE_SECONDS) for row in rows] if place else []
    listening = await asyncio.gather(*probes) if place else [False] * len(rows)
    return [
        _shown({**row, "listening": is_listening}, request, settings)
        for row, is_listening in zip(rows, listening, strict=True)
    ]


async def release_port(
    lease_id: Id, caller: Caller, database: Database, tunnels: Tunnels, trail: Trail
) -> None:
    """End a lease; connections to the port are closed, and its host name never comes back."""
    trail.resource = lease_id
    row = await database.run(_release, caller.id, lease_id, trail)
    tunnels.close_port(caller.id, row["port"])


def _release(session: Session, owner: str, lease_id: str, trail: Trail) -> dict[str, Any]:
    row = leases.release(session, owner, lease_id)
    trail.write(session)
    return row


def open_port(
    lease_id: Id,
    caller: Caller,
    request: Request,
    session: Session,
    door: Door,
    settings: Settings,
    trail: Trail,
) -> VisitOut:
    """Create a URL that opens a port once, within 30 s.

    It gives your browser a cookie of the port's host name, for at most 12 hours.
    """
    door.require_local(request)
    row = leases.visitable(session, lease_id, caller)
    if row["owner"] == caller.id:
        in_person(caller)
    trail.resource = lease_id
    trail.add(owner=row["owner"], visibility=row["visibility"])
    if row["visibility"] == Visibility.PUBLIC:
        return VisitOut(url=_url(row["host"], request, settings), expires=row["expires"])
    ticket, expires = leases.invite(session, row, caller)
    return VisitOut(url=f"{_url(row['host'], request, settings)}{ENTER[1:]}?ticket={ticket}", expires=expires)


def _shown(row: dict[str, Any], request: Request, settings: Settings) -> PortOut:
    return PortOut.model_validate({**row, "url": _url(str(row["host"]), request, settings)})


def _url(host: str, request: Request, settings: Settings) -> str:
    """Return the URL of a port: like that of the suite, with another host name."""
    parts = urlsplit(absolute("/", request, settings))
    port = f":{parts.port}" if parts.port else ""
    name = f"{host}.{settings.ports_host}{port}"
    return urlunsplit((parts.scheme or "http", name, "/", "", ""))
