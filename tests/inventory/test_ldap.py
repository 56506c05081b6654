"""LDAP servers: filters, messages, and a real slapd with TLS and StartTLS."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from services.inventory.app import create_app
from services.inventory.ldap import ber
from services.inventory.ldap.ber import Malformed, integer, octets, sequence
from services.inventory.ldap.filters import BadFilter, attribute_of, encoded, encoded_for_all
from services.inventory.models import JOBS, LDAP_SERVERS, PEOPLE
from services.inventory.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.testing import running
from tests.inventory import aws, slapd
from tests.inventory.aws import Double, World
from tests.inventory.slapd import ADMIN as BIND_DN
from tests.inventory.slapd import BASE, PASSWORD, Slapd
from tests.inventory.support import ADMIN, SECONDS, USER, add_account, change, sync

PATH, CLASSIC = "/admin/ldap-servers", "/classic/admin/ldap-servers"
SERVER = {
    "name": "head office",
    "server_url": "ldap://127.0.0.1:9",
    "base_dn": BASE,
    "bind_username": BIND_DN,
    "bind_password": PASSWORD,
    "search_filter": "(uid={username})",
}


class TestFilters:
    def test_filter_is_encoded_as_the_standard_says(self) -> None:
        equals = sequence(octets("uid"), octets(b"a*b"), tag=0xA3)
        assert encoded(r"(uid=a\2ab)") == equals
        assert encoded("(mail=*)") == octets("mail", 0x87)
        inside = sequence(octets("a", 0x80), octets("b", 0x81), octets("c", 0x82))
        assert encoded("(cn=a*b*c)") == sequence(octets("cn"), inside, tag=0xA4)
        both = sequence(octets("mail", 0x87), sequence(equals, tag=0xA2), tag=0xA0)
        assert encoded(r"(&(mail=*)(!(uid=a\2ab)))") == both
        assert encoded("(|(n>=1)(n<=2)(n~=3))")[0] == 0xA1

    def test_filter_for_all_users_only_requires_the_attribute(self) -> None:
        text = "(&(objectClass=user)(sAMAccountName={username}))"
        assert attribute_of(text) == "sAMAccountName"
        assert encoded_for_all(text) == encoded("(&(objectClass=user)(sAMAccountName=*))")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "uid=x",
            "(uid=x",
            "(uid=x))",
            "(&(uid=x)",
            "()",
            "(a:=b)",
            "((uid=x))",
            "(!" * 12 + "(a=b)" + ")" * 12,
        ],
    )
    def test_malformed_filter_is_refused(self, text: str) -> None:
        with pytest.raises(BadFilter):
            encoded(text)
        with pytest.raises(BadFilter):
            encoded_for_all("(mail=*)")


class TestEncoding:
    @pytest.mark.parametrize("value", [0, 1, 127, 128, 255, 256, 500, -1, 2**31 - 1])
    def test_number_survives_encoding(self, value: int) -> None:
        ((tag, content),) = ber.elements(integer(value))
        assert (tag, ber.number(content)) == (ber.INTEGER, value)

    @pytest.mark.parametrize("length", [0, 127, 128, 255, 256, 70_000])
    def test_content_of_any_length_survives_encoding(self, length: int) -> None:
        assert [*ber.elements(octets(b"x" * length))] == [(ber.OCTETS, b"x" * length)]

    @pytest.mark.parametrize(
        "content", [b"\x30", b"\x30\x05a", b"\x30\x80", b"\x30\x85\x01\x01\x01\x01\x01", b"\x04\x82\x01"]
    )
    def test_content_that_is_cut_off_is_malformed(self, content: bytes) -> None:
        with pytest.raises(Malformed):
            [*ber.elements(content)]


async def add(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    response = await client.post(PATH, json={**SERVER, **changes}, headers=ADMIN)
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


async def probe(client: httpx.AsyncClient, server: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(f"{PATH}/{server['id']}/test", headers=ADMIN)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_server_is_added_changed_and_deleted_without_showing_its_password(
    inventory: httpx.AsyncClient,
) -> None:
    server = await add(inventory, is_default=True)
    one = f"{PATH}/{server['id']}"
    changed = await inventory.put(one, json={"base_dn": "dc=x", "bind_password": "other"}, headers=ADMIN)
    shown = await inventory.get(PATH, headers=ADMIN)

    assert (changed.json()["base_dn"], changed.json()["version"]) == ("dc=x", 2)
    assert shown.json() == [changed.json()]
    assert shown.json()[0] == (await inventory.get(one, headers=ADMIN)).json()
    for secret in (PASSWORD, "other", "bind_password"):
        assert secret not in json.dumps([server, changed.json(), shown.json()])
    twin = await inventory.post(PATH, json=SERVER, headers=ADMIN)
    assert (twin.status_code, twin.json()["code"]) == (409, "name_taken")
    off = await inventory.put(one, json={"is_active": False}, headers={**ADMIN, "If-Match": '"2"'})
    assert off.json()["status"] == "disabled"
    assert (
        await inventory.put(one, json={"name": "x"}, headers={**ADMIN, "If-Match": '"1"'})
    ).status_code == 412
    assert (await inventory.delete(one, headers=ADMIN)).status_code == 204
    assert (await inventory.get(one, headers=ADMIN)).status_code == 404
    assert (await add(inventory))["status"] == "pending"


async def test_stored_password_is_not_sent_to_a_new_server(inventory: httpx.AsyncClient) -> None:
    server = await add(inventory)
    one, elsewhere = f"{PATH}/{server['id']}", {"server_url": "ldaps://mine.example"}
    refused = await inventory.put(one, json=elsewhere, headers=ADMIN)
    kept = await inventory.get(one, headers=ADMIN)
    moved = await inventory.put(one, json={**elsewhere, "bind_password": "another"}, headers=ADMIN)

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "bind_password")
    assert kept.json() == server
    assert moved.json()["server_url"] == "ldaps://mine.example"


async def test_data_before_the_tls_handshake_is_refused(inventory: httpx.AsyncClient) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        done = sequence(integer(0, ber.ENUMERATED), octets(""), octets(""), tag=0x78)
        bound = sequence(integer(0, ber.ENUMERATED), octets(""), octets(""), tag=0x61)
        writer.write(sequence(integer(1), done) + sequence(integer(2), bound))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        found = await probe(inventory, await add(inventory, server_url=f"ldap://127.0.0.1:{port}"))

    assert found == {"status": "error", "detail": "The server's response is malformed."}


@pytest.mark.parametrize(
    "changes",
    [
        {"server_url": "http://dc1"},
        {"server_url": "ldap://user:word@dc1"},
        {"server_url": "ldap://dc1:70000"},
        {"search_filter": "(uid=x)"},
        {"search_filter": "uid={username}"},
        {"bind_password": ""},
        {"name": ""},
        {"colour": "red"},
    ],
)
async def test_malformed_server_is_refused(inventory: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    body = {**SERVER, **changes}
    assert (await inventory.post(PATH, json=body, headers=ADMIN)).status_code == 422
    assert (await inventory.post(PATH, json=body, headers=USER)).status_code == 403
    assert (await inventory.post(PATH, json=body)).status_code == 401


async def test_unreachable_server_is_an_error_that_says_why(inventory: httpx.AsyncClient) -> None:
    found = await probe(inventory, await add(inventory))
    private = await probe(inventory, await add(inventory, name="other", server_url="ldaps://10.0.0.1"))

    assert found == {"status": "error", "detail": "The connection failed or ended early."}
    assert private == {"status": "error", "detail": "The host must have a public IP address."}


async def test_classic_form_of_servers(inventory: httpx.AsyncClient) -> None:
    names = {"server_url": "serverUrl", "base_dn": "baseDn", "bind_username": "bindUsername"}
    names |= {"bind_password": "bindPassword", "name": "name"}
    body = {names[name]: value for name, value in SERVER.items() if name in names}
    added = await inventory.post(CLASSIC, json={**body, "searchFilter": "", "isDefault": True}, headers=ADMIN)
    assert added.status_code == 201, added.text
    one = f"{CLASSIC}/{added.json()['id']}"
    changed = await inventory.put(one, json={"name": "branch", "bindPassword": ""}, headers=ADMIN)
    shown = (await inventory.get(CLASSIC, headers=ADMIN)).json()["servers"]
    tested = await inventory.get(f"{one}/test", headers=ADMIN)

    assert changed.json() == {"message": "The LDAP server was changed."}
    assert [(row["name"], row["isDefault"], row["isActive"]) for row in shown] == [("branch", True, True)]
    assert shown[0]["searchFilter"].startswith("(&(objectClass=user)")
    assert (tested.status_code, tested.json()["error"]) == (400, "The connection failed or ended early.")
    started = await inventory.post(f"{one}/sync", headers=ADMIN)
    assert (started.status_code, started.json()["server_name"]) == (202, "branch")
    assert (await inventory.delete(one, headers=ADMIN)).status_code == 200
    assert PASSWORD not in json.dumps([added.json(), shown, tested.json()])


async def test_settings_are_listed_by_category_and_changed_only_by_the_operator(
    inventory: httpx.AsyncClient,
) -> None:
    found = (await inventory.get("/classic/admin/settings", headers=ADMIN)).json()["settings"]
    keys = {row["key"]: row for row in found["aws"]}
    assert keys["aws.secret_access_key"]["value"] == "********"
    assert aws.SECRET not in json.dumps(found)
    assert aws.KEY_ID not in json.dumps(found)
    only = (await inventory.get("/classic/admin/settings?category=sync", headers=ADMIN)).json()["settings"]
    assert only == {"sync": found["sync"]}
    one = await inventory.get("/classic/admin/settings/sync.interval_minutes", headers=ADMIN)
    assert one.json() in found["sync"]
    asked = (
        ("", {"SMTP_HOST": "x"}),
        ("/SMTP_HOST", {"value": ""}),
        ("/sync.interval_minutes", {"value": "5"}),
    )
    for path, body in asked:
        refused = await inventory.put(f"/classic/admin/settings{path}", json=body, headers=ADMIN)
        assert (refused.status_code, refused.json()["code"]) == (409, "set_by_operator")
    assert "SYNC_EVERY_MINUTES" in refused.json()["error"]
    assert (await inventory.get("/classic/admin/settings/x", headers=ADMIN)).status_code == 404
    config = await inventory.get("/classic/admin/config", headers=ADMIN)
    assert config.json() == {"environment": "development", "ai_service": ""}
    assert (await inventory.get("/classic/admin/config", headers=USER)).status_code == 403


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd.running(tmp_path_factory.mktemp("slapd")) as found:
        yield found


@pytest.fixture
async def directory(
    make_inventory_settings: Callable[..., Settings],
    database_url: str,
    server: Slapd,
) -> AsyncIterator[httpx.AsyncClient]:
    """The service, which trusts the certificate of slapd."""
    settings = make_inventory_settings(database_url=database_url, outbound_ca_file=server.ca_file)
    async with running(create_app, settings) as client:
        yield client


async def read_directory(client: httpx.AsyncClient, database_url: str, one: dict[str, Any]) -> dict[str, Any]:
    """Start reading a server, and return the job when it has ended."""
    started = await client.post(f"{PATH}/{one['id']}/sync", headers=ADMIN)
    assert started.status_code == 202, started.text
    database = Database(database_url, pool_size=1)
    found = select(JOBS.jobs).where(JOBS.jobs.c.id == started.json()["job_id"])
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                with database.transaction(write=False) as session:
                    (row,) = session.connection().execute(found).mappings()
                if row["ended"] is not None:
                    return dict(row)
                await asyncio.sleep(0.02)
    finally:
        database.close()


def people(database_url: str) -> dict[str, dict[str, Any]]:
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction(write=False) as session:
            rows = session.connection().execute(select(PEOPLE)).mappings()
            return {row["user_key"]: dict(row) for row in rows}
    finally:
        database.close()


@pytest.mark.prove
class TestSlapd:
    async def test_tls_and_starttls_connect_and_wrong_passwords_are_refused(
        self, directory: httpx.AsyncClient, server: Slapd
    ) -> None:
        for name, url in (("tls", server.ldaps), ("starttls", server.ldap)):
            assert (await probe(directory, await add(directory, name=name, server_url=url)))[
                "status"
            ] == "connected"
        wrong = await add(directory, name="wrong", server_url=server.ldaps, bind_password="not it")
        found = await probe(directory, wrong)
        assert found["status"] == "error"
        assert "refused the name or the password" in found["detail"]
        nobody = await add(
            directory, name="none", server_url=server.ldap, search_filter="(employeeType={username})"
        )
        assert (await probe(directory, nobody))["status"] == "limited"
        elsewhere = await add(directory, name="base", server_url=server.ldap, base_dn="dc=other")
        assert "no entry with the base DN" in (await probe(directory, elsewhere))["detail"]

    async def test_server_with_an_unknown_certificate_is_refused_before_the_password_is_sent(
        self, inventory: httpx.AsyncClient, server: Slapd
    ) -> None:
        for name, url in (("tls", server.ldaps), ("starttls", server.ldap)):
            found = await probe(inventory, await add(inventory, name=name, server_url=url))
            assert found == {"status": "error", "detail": "TLS failed: CERTIFICATE_VERIFY_FAILED."}

    async def test_people_with_a_workspace_are_read_and_users_that_are_gone_make_orphans(
        self,
        directory: httpx.AsyncClient,
        server: Slapd,
        double: Double,
        world: World,
        database_url: str,
    ) -> None:
        aws.add_workspaces(world, 4, 1)
        names = ("Ann", "bob", "carla", "leaver")
        for row, name in zip(world.place().workspaces.values(), names, strict=True):
            row["UserName"] = name
        await add_account(directory, double)
        await sync(directory)
        one = await add(directory, server_url=server.ldap)
        job = await read_directory(directory, database_url, one)
        assert (job["state"], json.loads(job["result"])["seen"]) == ("done", slapd.PEOPLE + 3)

        found = people(database_url)
        assert found.keys() == {"ann", "bob", "carla"}
        assert (found["bob"]["email"], found["bob"]["job_title"]) == ("Bob@corp.example", "Tester")
        await sync(directory, kind="advice")
        (orphan,) = (await directory.get("/advice?kind=orphan", headers=USER)).json()
        assert orphan["basis"]["user_name"] == "leaver"
        page = (await directory.get("/classic/workspaces?user_name=Ann", headers=USER)).json()
        assert [row["user_display_name"] for row in page["data"]] == ["Ann Example"]

        change(database_url, update(LDAP_SERVERS).values(search_filter="(&(uid={username})(!(uid=carla)))"))
        again = await read_directory(directory, database_url, one)
        assert json.loads(again["result"]) == {"seen": slapd.PEOPLE + 2, "gone": 1}

    async def test_failed_read_says_why_and_makes_no_orphans(
        self, directory: httpx.AsyncClient, server: Slapd, double: Double, world: World, database_url: str
    ) -> None:
        aws.add_workspaces(world, 2, 1)
        await add_account(directory, double)
        await sync(directory)
        one = await add(directory, server_url=server.ldap, bind_password="not it")
        change(database_url, update(LDAP_SERVERS).values(last_sync=now()))
        job = await read_directory(directory, database_url, one)
        assert (job["state"], "refused the name" in job["error"]) == ("failed", True)
        shown = (await directory.get(f"{PATH}/{one['id']}", headers=ADMIN)).json()
        assert (shown["status"], "refused the name" in shown["status_detail"]) == ("error", True)
        await sync(directory, kind="advice")
        assert (await directory.get("/advice?kind=orphan", headers=USER)).json() == []
