"""Handlers for LDAP servers; admins only."""

from sqlmodel import Session

from services.inventory.ldap import reading, servers
from services.inventory.ldap.schemas import (
    AddLdapServer,
    ChangeLdapServer,
    LdapServerOut,
    LdapSyncStarted,
    LdapTest,
)
from services.inventory.ldap.servers import LdapSecrets
from services.inventory.settings import Settings
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id
from shared.work.jobs import Jobs


def list_ldap_servers(session: Session) -> list[LdapServerOut]:
    """List the LDAP servers, oldest first."""
    return [LdapServerOut.of(row) for row in servers.live(session)]


def add_ldap_server(
    body: AddLdapServer, secrets: LdapSecrets, session: Session, trail: Trail
) -> LdapServerOut:
    """Add an LDAP server. Test it afterwards to check its credentials."""
    trail.add(name=body.name)
    return servers.add(session, body, secrets)


def show_ldap_server(server_id: Id, session: Session) -> LdapServerOut:
    """Show one LDAP server."""
    return LdapServerOut.of(servers.read(session, server_id))


def change_ldap_server(
    server_id: Id,
    body: ChangeLdapServer,
    if_match: IfMatch,
    secrets: LdapSecrets,
    session: Session,
    trail: Trail,
) -> LdapServerOut:
    """Change an LDAP server; `is_active: false` leaves it out."""
    trail.add(fields=sorted(body.model_fields_set))
    return servers.change(session, server_id, body, if_match, secrets)


def delete_ldap_server(server_id: Id, if_match: IfMatch, session: Session) -> None:
    """Delete an LDAP server; what was read from it stays."""
    servers.delete(session, server_id, if_match)


async def test_ldap_server(
    server_id: Id, database: Database, secrets: LdapSecrets, settings: Settings, trail: Trail
) -> LdapTest:
    """Connect with TLS, bind, and search for one user."""
    found = await servers.tested(server_id, database, secrets, settings)
    trail.resource = server_id
    trail.add(status=found.status)
    return found


def sync_ldap_server(server_id: Id, caller: Caller, jobs: Jobs, session: Session) -> LdapSyncStarted:
    """Read the names, addresses and departments of those users who have a WorkSpace."""
    row = servers.read(session, server_id)
    job_id = jobs.start(session, reading.JOB, server_id, caller.id)
    message = "The directory is being read."
    return LdapSyncStarted(job_id=job_id, server_id=server_id, server_name=row["name"], message=message)
