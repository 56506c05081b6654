"""LDAP servers: adding, changing, testing."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from services.inventory.errors import NameTaken
from services.inventory.ldap.client import LdapFailed, connected
from services.inventory.ldap.filters import attribute_of, encoded_for_all
from services.inventory.ldap.schemas import AddLdapServer, ChangeLdapServer, LdapServerOut, LdapTest
from services.inventory.ldap_models import LdapServer
from services.inventory.models import LDAP_SERVERS, AccountStatus
from services.inventory.settings import Settings
from shared.clock import now
from shared.data.database import Database, one_row
from shared.data.sealed import KeyMissing, SealBroken, SealedColumn
from shared.errors import FieldFault, Invalid, NotFound
from shared.http.preconditions import IfMatch

LIVE = LDAP_SERVERS.c.deleted.is_(None)
DETAIL_CHARACTERS_MAX = 500
TEST_SECONDS_MAX = 25.0  # less than the gateway waits for the first byte of a response


class LdapSecrets(SealedColumn):
    """The sealed passwords of the servers."""


def live(session: Session) -> list[dict[str, Any]]:
    """List all servers that are not deleted, oldest first; there are a few at most."""
    found = select(LDAP_SERVERS).where(LIVE).order_by(LDAP_SERVERS.c.id)
    return [dict(row) for row in session.connection().execute(found).mappings()]


def read(session: Session, server_id: str) -> dict[str, Any]:
    row = one_row(session, select(LDAP_SERVERS).where(LDAP_SERVERS.c.id == server_id, LIVE))
    if row is None:
        raise NotFound
    return row


def add(session: Session, body: AddLdapServer, secrets: LdapSecrets) -> LdapServerOut:
    server = LdapServer(**body.model_dump(exclude={"bind_password"}), status=AccountStatus.PENDING)
    server.bind_password = secrets.seal(server.id, body.bind_password.get_secret_value())
    try:
        session.connection().execute(insert(LDAP_SERVERS).values(server.model_dump()))
    except IntegrityError as error:
        raise NameTaken from error
    _keep_one_default(session, server.id, is_default=server.is_default)
    return LdapServerOut.of(server.model_dump())


def change(
    session: Session, server_id: str, body: ChangeLdapServer, if_match: IfMatch, secrets: LdapSecrets
) -> LdapServerOut:
    """Change a server; a new address or new credentials reset its status to pending."""
    row = _locked(session, server_id)
    if_match.check(row["version"])
    values = {name: value for name in body.model_fields_set if (value := getattr(body, name)) is not None}
    if values.get("server_url", row["server_url"]) != row["server_url"] and "bind_password" not in values:
        message = "must be given with a new server_url, so that the stored one is not sent to another server"
        raise Invalid(errors=[FieldFault(field="bind_password", code="required", message=message)])
    is_active = values.pop("is_active", None)
    if "bind_password" in values:
        values["bind_password"] = secrets.seal(server_id, values["bind_password"].get_secret_value())
    is_disabled = row["status"] == AccountStatus.DISABLED
    if is_active is False:
        values["status"] = AccountStatus.DISABLED
    elif (is_active and is_disabled) or (values.keys() - {"name", "is_default"} and not is_disabled):
        values |= {"status": AccountStatus.PENDING, "status_detail": None}
    values |= {"version": row["version"] + 1, "updated": now()}
    try:
        _update(session, server_id, values)
    except IntegrityError as error:
        raise NameTaken from error
    _keep_one_default(session, server_id, is_default=bool(values.get("is_default")))
    return LdapServerOut.of({**row, **values})


def delete(session: Session, server_id: str, if_match: IfMatch) -> None:
    row = _locked(session, server_id)
    if_match.check(row["version"])
    _update(session, server_id, {"deleted": now(), "is_default": False, "version": row["version"] + 1})


async def tested(server_id: str, database: Database, secrets: LdapSecrets, settings: Settings) -> LdapTest:
    """Connect, bind and search for one user; save the result."""
    row = await database.read(read, server_id)
    found = await _test(row, secrets, settings)
    await database.run(keep_status, server_id, AccountStatus(found.status), found.detail)
    return found


async def _test(row: Mapping[str, Any], secrets: LdapSecrets, settings: Settings) -> LdapTest:
    try:
        async with connected(settings, row["server_url"], TEST_SECONDS_MAX) as directory:
            await directory.bind(row["bind_username"], password_of(row, secrets))
            names = [attribute_of(row["search_filter"])]
            async for _ in directory.search(row["base_dn"], encoded_for_all(row["search_filter"]), names):
                return LdapTest(status="connected", detail=None)
    except LdapFailed as error:
        return LdapTest(status="error", detail=str(error))
    return LdapTest(status="limited", detail="The bind succeeded, but the search found no user.")


def password_of(row: Mapping[str, Any], secrets: LdapSecrets) -> str:
    try:
        return secrets.open(row["id"], row["bind_password"])
    except (SealBroken, KeyMissing) as error:
        raise LdapFailed("The stored password cannot be decrypted; set bind_password again.") from error


def keep_status(
    session: Session,
    server_id: str,
    status: AccountStatus,
    detail: str | None,
    *,
    synced: datetime | None = None,
) -> None:
    """Save the status of a server, unless an admin has disabled it."""
    values: dict[str, Any] = {"status": status, "status_detail": detail and detail[:DETAIL_CHARACTERS_MAX]}
    if synced is not None:
        values["last_sync"] = synced
    one = update(LDAP_SERVERS).where(
        LDAP_SERVERS.c.id == server_id, LDAP_SERVERS.c.status != AccountStatus.DISABLED
    )
    session.connection().execute(one.values(values))


def _locked(session: Session, server_id: str) -> dict[str, Any]:
    found = select(LDAP_SERVERS).where(LDAP_SERVERS.c.id == server_id, LIVE).with_for_update()
    row = one_row(session, found)
    if row is None:
        raise NotFound
    return row


def _update(session: Session, server_id: str, values: Mapping[str, Any]) -> None:
    one = update(LDAP_SERVERS).where(LDAP_SERVERS.c.id == server_id)
    session.connection().execute(one.values(dict(values)))


def _keep_one_default(session: Session, server_id: str, *, is_default: bool) -> None:
    if is_default:
        others = update(LDAP_SERVERS).where(LDAP_SERVERS.c.id != server_id, LDAP_SERVERS.c.is_default)
        session.connection().execute(others.values(is_default=False))
