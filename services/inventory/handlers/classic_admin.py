"""Handlers for LDAP servers, configuration and settings in the classic API; admins only."""

from sqlmodel import Session

from services.inventory.classic.ldap import (
    AddClassicServer,
    ChangeClassicServer,
    ClassicConfig,
    ClassicServer,
    ClassicServers,
    ClassicServerTest,
    ClassicSetting,
    ClassicSettings,
    ServerSync,
    SettingKey,
    SettingsFilter,
)
from services.inventory.classic.schemas import Done
from services.inventory.errors import ServerRefused, SetByOperator
from services.inventory.ldap import reading, servers
from services.inventory.ldap.schemas import DEFAULT_FILTER, AddLdapServer, ChangeLdapServer, LdapServerOut
from services.inventory.ldap.servers import LdapSecrets
from services.inventory.settings import Settings
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import NotFound
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id
from shared.work.jobs import Jobs

FIELDS = {
    "name": "name",
    "serverUrl": "server_url",
    "baseDn": "base_dn",
    "bindUsername": "bind_username",
    "searchFilter": "search_filter",
    "isDefault": "is_default",
}
MASK = "********"
# The names of the settings that have an effect, their category, and the setting of this service.
KEYS = {
    "aws.access_key_id": "aws_access_key_id",
    "aws.secret_access_key": "aws_secret_access_key",
    "sync.interval_minutes": "sync_every_minutes",
    "sync.schedule": "sync_schedule",
    "sync.started_by": "sync_by",
    "billing.days": "billing_days",
    "billing.requests_per_day": "ce_requests_per_day",
    "usage.days": "usage_days",
    "advice.unused_days": "unused_days",
    "advice.changes_at_aws": "aws_changes",
    "general.retention_months": "retention_months",
    "general.export_rows_max": "export_rows_max",
}
SECRET = ("aws_access_key_id", "aws_secret_access_key")


def classic_servers(session: Session) -> ClassicServers:
    """List the LDAP servers."""
    return ClassicServers(servers=[ClassicServer.of(LdapServerOut.of(row)) for row in servers.live(session)])


def classic_server(server_id: Id, session: Session) -> ClassicServer:
    """Show one LDAP server."""
    return ClassicServer.of(LdapServerOut.of(servers.read(session, server_id)))


def classic_add_server(
    body: AddClassicServer, secrets: LdapSecrets, session: Session, trail: Trail
) -> ClassicServer:
    """Add an LDAP server."""
    trail.add(name=body.name)
    native = AddLdapServer(
        name=body.name,
        server_url=body.serverUrl,
        base_dn=body.baseDn,
        bind_username=body.bindUsername,
        bind_password=body.bindPassword,
        search_filter=body.searchFilter or DEFAULT_FILTER,
        is_default=body.isDefault,
    )
    return ClassicServer.of(servers.add(session, native, secrets))


def classic_change_server(
    server_id: Id,
    body: ChangeClassicServer,
    if_match: IfMatch,
    secrets: LdapSecrets,
    session: Session,
    trail: Trail,
) -> Done:
    """Change an LDAP server; fields that are empty or left out stay as they are."""
    values = {FIELDS[name]: value for name in FIELDS if (value := getattr(body, name)) not in (None, "")}
    if body.bindPassword:
        values["bind_password"] = body.bindPassword
    trail.add(fields=sorted(values))
    servers.change(session, server_id, ChangeLdapServer(**values), if_match, secrets)
    return Done(message="The LDAP server was changed.")


def classic_delete_server(server_id: Id, if_match: IfMatch, session: Session) -> Done:
    """Delete an LDAP server; what was read from it stays."""
    servers.delete(session, server_id, if_match)
    return Done(message="The LDAP server was deleted.")


async def classic_test_server(
    server_id: Id, database: Database, secrets: LdapSecrets, settings: Settings
) -> ClassicServerTest:
    """Connect with TLS, bind, and search for one user; 400 if that fails."""
    found = await servers.tested(server_id, database, secrets, settings)
    if found.status == "error":
        raise ServerRefused(found.detail or "")
    message = "Connected." if found.status == "connected" else "No user was found."
    return ClassicServerTest(status=found.status, message=message, details=found.detail or "")


def classic_sync_server(server_id: Id, caller: Caller, jobs: Jobs, session: Session) -> ServerSync:
    """Read the directory."""
    row = servers.read(session, server_id)
    jobs.start(session, reading.JOB, server_id, caller.id)
    message = "The directory is being read."
    return ServerSync(message=message, server_id=server_id, server_name=row["name"])


def classic_config(settings: Settings) -> ClassicConfig:
    """Show the environment, and the language model's server."""
    return ClassicConfig(environment=settings.environment, ai_service=settings.model_url)


def classic_settings(query: SettingsFilter, settings: Settings) -> ClassicSettings:
    """List the settings by category. They are set by the operator, as environment variables."""
    found: dict[str, list[ClassicSetting]] = {}
    for key in KEYS:
        one = _setting(key, settings)
        if query.category in (None, one.category):
            found.setdefault(one.category, []).append(one)
    return ClassicSettings(settings=found)


def classic_setting(key: SettingKey, settings: Settings) -> ClassicSetting:
    """Show one setting."""
    if key not in KEYS:
        raise NotFound
    return _setting(key, settings)


def classic_set_settings() -> Done:
    """Always refused: settings are set by the operator, as environment variables."""
    raise SetByOperator


def classic_set_setting(key: SettingKey) -> Done:
    """Always refused: settings are set by the operator, as environment variables."""
    raise SetByOperator(f"This is set by the operator, as {KEYS[key].upper()}." if key in KEYS else None)


def _setting(key: str, settings: Settings) -> ClassicSetting:
    name = KEYS[key]
    value, is_secret = str(getattr(settings, name)), name in SECRET
    return ClassicSetting(
        key=key,
        value=MASK if is_secret and value else value,
        encrypted=is_secret,
        category=key.partition(".")[0],
        description=name.upper(),
    )
