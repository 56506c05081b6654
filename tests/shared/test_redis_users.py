"""The Redis users of docker-compose: each can do its own work, and cannot access the other's data."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.policies.rate_limit_store import MEMBERS, Ask, LimitStore, Standing
from shared.events.streams import STREAM
from shared.process.redis import connect
from tests import support
from tests.shared.events.test_streams import Side, running, until

HOUR = 3600 * 1_000_000
PATIENCE = 5.0
PASSWORDS = {"services": "5d1f0c7e", "gateway": "a83b92d4"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    (shell, _) = support.need("sh", "redis-server")
    folder, port = tmp_path_factory.mktemp("redis"), support.free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "REDIS_USERS_FILE": str(folder / "users.acl"),
        "REDIS_PASSWORD": PASSWORDS["services"],
        "REDIS_GATEWAY_PASSWORD": PASSWORDS["gateway"],
    }
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    script = Path(__file__).parents[2] / "deploy" / "redis-start.sh"
    server = subprocess.Popen([shell, str(script), *options], env=environment, stdout=subprocess.DEVNULL)
    try:
        started = Redis(port=port, username="services", password=PASSWORDS["services"])
        assert support.eventually(lambda: _answers(started), seconds=support.START_SECONDS)
        command = Path(f"/proc/{server.pid}/cmdline").read_text()
        assert not any(password in command for password in PASSWORDS.values())
        yield f"127.0.0.1:{port}/0"
    finally:
        server.kill()
        server.wait()


def _answers(client: "Redis") -> bool:
    try:
        return bool(client.ping())
    except RedisConnectionError:
        return False


def client_of(address: str, user: str) -> "Redis":
    return Redis.from_url(f"redis://{user}:{PASSWORDS[user]}@{address}")


def test_commands_without_a_password_are_refused(address: str) -> None:
    with Redis.from_url(f"redis://{address}") as client, pytest.raises(AuthenticationError):
        client.ping()


@pytest.mark.parametrize(
    "command",
    [
        ("XADD", STREAM, "*", "event", "{}"),
        ("XREVRANGE", STREAM, "+", "-"),
        ("DEL", "gatehouse:reader:users"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("KEYS", "*"),
    ],
    ids=lambda command: command[0],
)
def test_gateway_user_cannot_access_events(address: str, command: tuple[str, ...]) -> None:
    with client_of(address, "gateway") as client, pytest.raises(NoPermissionError):
        client.execute_command(*command)


@pytest.mark.parametrize("command", [("ZREM", MEMBERS, "x"), ("GET", "gatehouse:limit:x"), ("FLUSHALL",)])
def test_services_user_cannot_access_rate_limits(address: str, command: tuple[str, ...]) -> None:
    with client_of(address, "services") as client, pytest.raises(NoPermissionError):
        client.execute_command(*command)


async def test_services_user_may_send_and_receive_events(address: str, tmp_path: Path) -> None:
    teller, one = Side(tmp_path, "teller"), Side(tmp_path, "one")
    redis = connect(f"redis://services:{PASSWORDS['services']}@{address}", timeout_seconds=5)
    async with redis, teller.sending(redis, "one"), running(one.reader(redis).run()):
        teller.tell(*range(300))
        await until(lambda: teller.number_waiting() == 0)

    assert one.seen() == [*range(300)]
    for side in (teller, one):
        side.database.close()


async def test_gateway_user_may_count_requests(address: str) -> None:
    url = f"redis://gateway:{PASSWORDS['gateway']}@{address}"
    ask = Ask("gatehouse:limit:{route}:1:user:a", HOUR, HOUR)
    async with LimitStore(url, PATIENCE) as store:
        assert await store.take([ask]) == [Standing(ahead=3600.0, wait=0.0)]
        assert store.state == "shared"
