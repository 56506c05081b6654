"""API keys of machine clients: where they are accepted, what the backend learns, and how they are revoked."""

import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gatehouse.cli import main as gatehouse
from gateway import cli
from gateway.config import routes_file
from gateway.config.api_keys_file import load, new_key, parse
from gateway.config.routes_file import RoutesFileError
from gateway.runtime.reload import KEPT_ROUTES, first_keys
from gateway.settings import Settings
from shared.identity.revocations import Revocation
from shared.testing import bearer, token
from tests.gateway.backends import Backend
from tests.gateway.conftest import Start
from tests.gateway.support import Answer, RunningGateway, eventually

SCOPES = ("orders:read", "orders:write")


class Keys:
    """A key file and its entries."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.entries: dict[str, str] = {}

    def add(self, client: str = "billing", *scopes: str, expires: datetime | None = None) -> str:
        key, entry = new_key(client, "client", scopes, expires)
        self.entries[key] = entry
        self.write()
        return key

    def remove(self, key: str) -> None:
        del self.entries[key]
        self.write()

    def write(self) -> None:
        self.file.write_text("keys:\n" + "".join(self.entries.values()) if self.entries else "keys: []\n")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    keys = Keys(tmp_path / "api-keys.yaml")
    keys.write()
    return keys


def routes(backend: Backend, more: str = "") -> str:
    return f"routes: [{{path: /x, backend: '{backend.url}', api_keys: true{more}}},{{path: /y, backend: '{backend.url}'}}]"  # noqa: E501


async def get(gateway: RunningGateway, key: str, path: str = "/x", **headers: str) -> Answer:
    return await gateway.request("GET", path, {"X-API-Key": key, **headers})


async def test_backend_gets_the_name_of_the_client_and_not_its_key(
    start_gateway: Start, backend: Backend, keys: Keys
) -> None:
    key = keys.add("billing", *SCOPES)
    gateway = await start_gateway(routes(backend), api_keys_file=keys.file)
    forged = {"X-Gatehouse-Client": "admin", "X-Gatehouse-Scopes": "all", "X-Gatehouse-Other": "x"}
    assert (await get(gateway, key, **forged)).status == 200
    (received,) = backend.received
    told = {name: value for name, value in received.headers if name.startswith("x-gatehouse-")}
    assert told == {"x-gatehouse-client": "billing", "x-gatehouse-scopes": "orders:read orders:write"}
    assert received.value("x-api-key") is None
    assert key not in str(received)

    assert (await gateway.request("GET", "/x", {**bearer(token()), **forged})).status == 200
    assert not [name for name, _ in backend.received[1].headers if name.startswith("x-gatehouse-")]


async def test_scopes_roles_and_limits_apply_to_keys(
    start_gateway: Start, backend: Backend, keys: Keys
) -> None:
    weak, strong = keys.add("weak"), keys.add("strong", *SCOPES)
    second = keys.add("strong", *SCOPES)
    demands = ", scopes: [orders:read], rate_limit: {rate: 2/h, burst: 2, key: client}"
    gateway = await start_gateway(routes(backend, demands), api_keys_file=keys.file)
    refused = await get(gateway, weak)
    assert (refused.status, refused.code) == (403, "insufficient_scope")
    answers = [(await get(gateway, key)).status for key in (strong, second, strong, second)]
    assert answers == [200, 200, 429, 429], "one client has one limit, however many keys"
    gateway.write(routes(backend, ", roles: [admin]"))
    assert (await gateway.reload.now()).success
    assert (await get(gateway, strong)).status == 403


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1] + ("0" if key[-1] != "0" else "1"),
        lambda key: key.upper(),
        lambda key: key[:26] + "_" + "0" * 64,
        lambda _: new_key("billing", "client", (), None)[0],
        lambda _: "",
        lambda _: "gatehouse_",
        lambda _: "x" * 9000,
        lambda _: "\xff\xfe",
        lambda key: hashlib.sha256(key.encode()).hexdigest(),
    ],
)
async def test_invalid_key_is_refused_with_401(
    start_gateway: Start, backend: Backend, keys: Keys, spoil: Any
) -> None:
    gateway = await start_gateway(routes(backend), api_keys_file=keys.file)
    key = keys.add()
    await gateway.reload.now()
    answer = await get(gateway, spoil(key))
    assert (answer.status, answer.code, answer.value("www-authenticate")) == (
        401,
        "invalid_api_key",
        "ApiKey",
    )
    assert not backend.received
    assert (await get(gateway, key)).status == 200


async def test_keys_are_refused_where_they_are_not_accepted_or_ambiguous(
    start_gateway: Start, backend: Backend, keys: Keys
) -> None:
    key = keys.add()
    gateway = await start_gateway(routes(backend), api_keys_file=keys.file)
    assert (await get(gateway, key, "/y")).status == 401
    both = await get(gateway, key, **bearer(token()))
    assert (both.status, both.code) == (400, "bad_request")
    twice = await gateway.raw(
        f"GET /x HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n"
    )
    assert twice.startswith(b"HTTP/1.1 401 ")
    assert (await gateway.request("GET", "/x")).status == 401
    assert not backend.received


async def test_header_name_can_be_configured(start_gateway: Start, backend: Backend, keys: Keys) -> None:
    gateway = await start_gateway(routes(backend), api_keys_file=keys.file, api_key_header="X-Machine")
    key = keys.add()
    await gateway.reload.now()
    assert (await gateway.request("GET", "/x", {"x-machine": key})).status == 200
    assert (await get(gateway, key)).status == 401


async def test_key_is_refused_after_it_expired(start_gateway: Start, backend: Backend, keys: Keys) -> None:
    gone = keys.add("gone", expires=datetime.now(UTC) - timedelta(seconds=1))
    gateway = await start_gateway(routes(backend), api_keys_file=keys.file)
    soon = datetime.now(UTC) + timedelta(seconds=4)
    brief, kept = keys.add("brief", expires=soon), keys.add("kept")
    await gateway.reload.now()
    assert [(await get(gateway, key)).status for key in (gone, brief, kept)] == [401, 200, 200]
    await eventually(lambda: time.time() > soon.timestamp())
    assert [(await get(gateway, key)).status for key in (brief, kept)] == [401, 200]


async def test_changed_file_takes_effect_and_an_invalid_one_changes_nothing(
    start_gateway: Start, backend: Backend, keys: Keys
) -> None:
    first = keys.add("first")
    gateway = await start_gateway(routes(backend), api_keys_file=keys.file)
    second = keys.add("second")
    await eventually(lambda: len(gateway.state.api_keys) == 2)  # without a request to reload
    assert (await get(gateway, second)).status == 200

    keys.file.write_text("keys:\n  - {id: short, client: x}\n")
    outcome = await gateway.reload.now()
    assert outcome.faults == (
        f"{keys.file}:2:5 keys[0]: has no `sha256:`; create keys with `gatehouse keys new`",
        f"{keys.file}:2:10 keys[0].id: must be 16 hexadecimal digits",
    )
    assert [(await get(gateway, key)).status for key in (first, second)] == [200, 200]

    keys.remove(first)
    assert (await gateway.reload.now()).changed
    assert [(await get(gateway, key)).status for key in (first, second)] == [401, 200]


def test_restarted_worker_uses_the_last_valid_keys(
    keys: Keys, tmp_path: Path, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keys.add()
    settings = make_settings(Settings, api_keys_file=keys.file)
    table = routes_file.parse("routes: []", "routes.yaml", development=True)
    keys.file.write_text("keys: nonsense")
    with pytest.raises(RoutesFileError, match="must be a list"):
        first_keys(settings, table)  # the very first start

    monkeypatch.setenv(KEPT_ROUTES, str(tmp_path / "kept" / "routes.yaml"))
    (tmp_path / "kept").mkdir()
    keys.write()
    assert len(first_keys(settings, table)) == 1
    keys.file.write_text("keys: nonsense")
    assert first_keys(settings, table).caller(key.encode()) is not None


async def test_sockets_of_a_removed_key_are_closed(start_gateway: Start, keys: Keys) -> None:
    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    first, second = keys.add("first"), keys.add("second")
    async with serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        gateway = await start_gateway(
            f"routes: [{{path: /x, backend: 'http://127.0.0.1:{port}', api_keys: true}}]",
            api_keys_file=keys.file,
        )
        url = f"ws://127.0.0.1:{gateway.port}/x"
        async with (
            connect(url, additional_headers={"X-API-Key": first}) as one,
            connect(url, additional_headers={"X-API-Key": second}) as other,
        ):
            keys.remove(first)
            await gateway.reload.now()
            with pytest.raises(ConnectionClosed):
                await one.recv()
            await other.send("still here")
            assert await other.recv() == "still here"


@pytest.mark.parametrize("kind", ["key", "client"])
async def test_revocations_from_the_feed_apply_to_keys(
    start_gateway: Start, backend: Backend, keys: Keys, kind: str
) -> None:
    key, other = keys.add("billing"), keys.add("shop")
    gateway = await start_gateway(routes(backend), api_keys_file=keys.file)
    subject = key.split("_")[1] if kind == "key" else "billing"
    until = datetime.now(UTC) + timedelta(hours=1)
    gateway.state.verifier.revocations.add([Revocation(number=1, kind=kind, subject=subject, expires=until)])
    assert [(await get(gateway, each)).status for each in (key, other)] == [401, 200]


async def test_routes_with_api_keys_require_a_key_file(
    start_gateway: Start, backend: Backend, keys: Keys
) -> None:
    with pytest.raises(RoutesFileError, match="route 'x' accepts API keys, but there are none: set API_KEYS"):
        await start_gateway(routes(backend))
    gateway = await start_gateway(f"routes: [{{path: /x, backend: '{backend.url}'}}]")
    gateway.write(routes(backend))
    assert not (await gateway.reload.now()).success
    with pytest.raises(RoutesFileError, match=r"cannot be read .*; name another file, or set API_KEYS_FILE"):
        await start_gateway(routes(backend), api_keys_file=keys.file.with_name("absent"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "keys.yaml is empty"),
        ("keys: 1", "keys.yaml:1:7 keys: must be a list"),
        ("{}", "keys.yaml:1:1 has no `keys:`"),
        ("keys: [1]", "keys.yaml:1:8 keys[0]: must be a mapping"),
        ("kees: []", "keys.yaml:1:1 kees: unknown key; did you mean 'keys'?"),
        ("keys: [{client: a b}]", "keys.yaml:1:17 keys[0].client: must be a name such as billing"),
        ("keys: [{scopes: ['a b']}]", "keys.yaml:1:18 keys[0].scopes[0]: must be a scope such as"),
        ("keys: [{expires: 2027-01-31}]", "keys.yaml:1:18 keys[0].expires: must be a time with a time zone"),
        ("keys: [{expires: tomorrow}]", "keys.yaml:1:18 keys[0].expires: must be a time with a time zone"),
        ("keys: [{sha256: gatehouse_secret}]", "keys.yaml:1:17 keys[0].sha256: must be 64 hexadecimal"),
    ],
)
def test_each_fault_of_the_file_is_reported_with_its_position(text: str, told: str) -> None:
    with pytest.raises(RoutesFileError) as error:
        parse(text, "keys.yaml")
    assert any(line.startswith(told) for line in error.value.faults), error.value.faults
    assert "secret" not in str(error.value)


def test_duplicate_id_is_refused() -> None:
    _, entry = new_key("billing", "client", (), None)
    with pytest.raises(RoutesFileError, match="is given twice"):
        parse(f"keys:\n{entry}{entry}", "keys.yaml")


async def test_command_creates_keys_that_work(
    start_gateway: Start, backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "made.yaml"
    made = []
    for program, more in ((gatehouse, ["--scope", "orders:read"]), (cli.main, ["--days", "30"])):
        assert program(["keys", "new", "--client", "billing", *more, str(file)]) == 0
        made.append(capsys.readouterr().out.strip())
    assert file.stat().st_mode & 0o777 == 0o600
    assert not any(key.rpartition("_")[2] in file.read_text() for key in made)
    assert [caller.scopes for caller in load(file)._callers.values()] == [{"orders:read"}, frozenset()]
    assert gatehouse(["keys", "check", str(file)]) == 0
    assert "valid, 2 keys" in capsys.readouterr().out

    gateway = await start_gateway(routes(backend), api_keys_file=file)
    for key in made:
        assert json.loads((await get(gateway, key)).body)["target"] == "/x"

    file.write_text("keys: {}\n")
    assert gatehouse(["keys", "new", "--client", "billing", str(file)]) == 1
    assert "must be a list" in capsys.readouterr().err
    assert file.read_text() == "keys: {}\n"
    for wrong in (
        ["--client", "a b"],
        ["--client", "a", "--scope", "a b"],
        ["--client", "a", "--days", "-1"],
        ["--client", "a", "--days", "3651"],
    ):
        with pytest.raises(SystemExit):
            gatehouse(["keys", "new", *wrong, str(file)])
        assert len(capsys.readouterr().err) < 400
    assert gatehouse(["keys", "new", "--client", "a", str(tmp_path / "missing" / "keys.yaml")]) == 1
    assert "cannot be written (No such file or directory); no key was created" in capsys.readouterr().err
