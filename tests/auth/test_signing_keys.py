"""Rotating and killing signing keys: the rules, the command, and a service that runs meanwhile."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from gatehouse import cli
from services.auth.app import create_app
from services.auth.key_models import Revoked, SigningKey
from services.auth.keys.rotation import OVERLAP_SECONDS, State, plan_retirement, states
from services.auth.keys.signing_keys import PUBLISHED_MAX, SigningKeys
from services.auth.models import EVENTS
from services.auth.settings import Settings
from shared.data.database import Database
from shared.testing import TEST_INTERNAL_SECRET, TEST_JWT_SECRET, bearer, internal_token, running
from tests.auth.conftest import KEY_SECRET
from tests.auth.support import let_time_pass, login, refresh, register, rows
from tests.told import records

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
MINUTE, KEPT = timedelta(minutes=1), timedelta(minutes=20)
Run = Callable[..., tuple[int, str]]


def key(number: int, signs_from: datetime = NOON - MINUTE, **fields: Any) -> SigningKey:
    return SigningKey(
        number=number, id=str(number), public_jwk="", private_pem="", signs_from=signs_from, **fields
    )


def told(keys: list[SigningKey], moment: datetime = NOON) -> dict[str, State]:
    return {one.key.id: one.state for one in states(keys, moment)}


class TestRules:
    def test_the_newest_key_whose_time_has_come_signs(self) -> None:
        keys = [key(1), key(2), key(3, NOON + MINUTE)]

        assert told(keys) == {"3": State.WAITING, "2": State.SIGNING, "1": State.OLD}
        assert told(keys, NOON + MINUTE) == {"3": State.SIGNING, "2": State.OLD, "1": State.OLD}

    def test_killed_and_retired_keys_do_nothing(self) -> None:
        keys = [key(1, retires=NOON), key(2), key(3, killed=NOON)]

        assert told(keys) == {"3": State.KILLED, "2": State.SIGNING, "1": State.RETIRED}

    def test_a_key_retires_once_its_last_token_has_expired(self) -> None:
        keys = [key(1), key(2, NOON + 10 * MINUTE)]
        plan_retirement(keys, NOON, KEPT)

        assert [one.retires for one in keys] == [NOON + 10 * MINUTE + KEPT, None]

    def test_the_last_key_does_not_retire_after_its_successor_was_killed(self) -> None:
        keys = [key(1, retires=NOON + MINUTE), key(2, NOON + MINUTE, killed=NOON)]
        plan_retirement(keys, NOON, KEPT)

        assert keys[0].retires is None

    def test_a_plan_changes_neither_retired_keys_nor_those_with_a_date(self) -> None:
        keys = [key(1, retires=NOON - MINUTE), key(2, retires=NOON + MINUTE), key(3)]
        plan_retirement(keys, NOON, KEPT)

        assert [one.retires for one in keys] == [NOON - MINUTE, NOON + MINUTE, None]


@pytest.fixture(scope="module")
def made_keys() -> list[rsa.RSAPrivateKey]:
    return [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(3)]


@pytest.fixture(autouse=True)
def _different_keys(monkeypatch: pytest.MonkeyPatch, made_keys: list[rsa.RSAPrivateKey]) -> None:
    """Three true keys in turn, because making one takes longer than the rest of a test."""
    turn = cycle(made_keys)
    monkeypatch.setattr("services.auth.keys.signing_keys.generate_private_key", lambda **_: next(turn))


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str
) -> Run:
    """The command, with the settings of the service under test."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("INTERNAL_SECRET", TEST_INTERNAL_SECRET)
    monkeypatch.setenv("KEY_SECRET", KEY_SECRET)
    monkeypatch.setenv("AUTH_DATABASE_URL", database_url)
    monkeypatch.setenv("AUTH_URL", "http://127.0.0.1:9")

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        try:
            code = cli.main(["signing-keys", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks for rotations and returns an empty feed at once."""
    monkeypatch.setattr("services.auth.app.REFRESH_SECONDS", 0.05)
    monkeypatch.setattr("services.auth.revocations.feed.HOLD_SECONDS", 0.0)


def listed(run: Run) -> dict[str, dict[str, Any]]:
    code, text = run("list", "--json")
    assert code == 0, text
    found, _ = json.JSONDecoder().raw_decode(text[text.index("[\n") :])  # a running service may log
    return {one["state"]: one for one in found}


def key_of(token: str) -> str:
    key_id: str = jwt.get_unverified_header(token)["kid"]
    return key_id


async def signed_by(auth: httpx.AsyncClient, key_id: str) -> str:
    """Sign in until this key signs."""
    async with asyncio.timeout(30):
        while True:
            token: str = (await login(auth, "ann")).json()["token"]
            if key_of(token) == key_id:
                return token


async def status(auth: httpx.AsyncClient, token: str) -> int:
    return (await auth.get("/auth/me", headers=bearer(token))).status_code


async def published(auth: httpx.AsyncClient) -> list[str]:
    return [one["kid"] for one in (await auth.get("/.well-known/jwks.json")).json()["keys"]]


@pytest.mark.usefixtures("hasty")
class TestRotation:
    @pytest.mark.conforms("OIDC Core 10.1.1", "oidcc-server-rotate-keys")
    async def test_a_new_key_is_published_before_it_signs_J4(self, auth: httpx.AsyncClient, run: Run) -> None:
        old = key_of((await register(auth, username="ann"))["token"])
        code, said = await asyncio.to_thread(run, "rotate")
        new = (await published(auth))[0]

        assert code == 0, said
        assert new in said
        assert await published(auth) == [new, old]
        assert key_of((await login(auth, "ann")).json()["token"]) == old
        states = await asyncio.to_thread(listed, run)
        assert (states["waiting"]["id"], states["signing"]["id"]) == (new, old)
        begins, created = (
            datetime.fromisoformat(states["waiting"][name]) for name in ("signs_from", "created")
        )
        assert (
            timedelta(seconds=OVERLAP_SECONDS - 2)
            < begins - created
            <= timedelta(seconds=OVERLAP_SECONDS + 1)
        )

    async def test_a_running_service_signs_with_the_new_key_and_accepts_the_old_one(
        self, auth: httpx.AsyncClient, run: Run
    ) -> None:
        before = await register(auth, username="ann")
        await asyncio.to_thread(run, "rotate", "--after", "0")
        new = (await published(auth))[0]
        after = await signed_by(auth, new)

        assert await status(auth, before["token"]) == await status(auth, after) == 200
        assert (await refresh(auth, before["refresh_token"])).status_code == 200

    async def test_a_second_rotation_waits_for_the_first(self, auth: httpx.AsyncClient, run: Run) -> None:
        await asyncio.to_thread(run, "rotate")
        code, said = await asyncio.to_thread(run, "rotate")

        assert code == 1
        assert "is already waiting to sign" in said
        assert len(await published(auth)) == 2

    async def test_a_retired_key_is_no_longer_published_and_its_private_half_is_erased(
        self, auth: httpx.AsyncClient, run: Run, database_url: str
    ) -> None:
        old = await register(auth, username="ann")
        await asyncio.to_thread(run, "rotate", "--after", "0")
        await signed_by(auth, (await published(auth))[0])
        let_time_pass(database_url, SigningKey, "retires", timedelta(hours=1))

        assert key_of(old["token"]) not in await published(auth)
        async with asyncio.timeout(30):
            while [row["private_pem"] for row in rows(database_url, SigningKey)].count("") != 1:  # noqa: ASYNC110 - a duty
                await asyncio.sleep(0.01)
        assert "retired" in await asyncio.to_thread(listed, run)

    async def test_it_is_in_the_audit_log(self, auth: httpx.AsyncClient, run: Run, database_url: str) -> None:
        await asyncio.to_thread(run, "rotate")
        new, old = await published(auth)
        [record] = records(database_url, EVENTS)

        assert (record["action"], record["resource"], record["actor"]) == (
            "SIGNING_KEY_ROTATED",
            new,
            "service:auth",
        )
        assert record["metadata"].items() >= {"by": "command line", "replaces": old}.items()


@pytest.mark.usefixtures("hasty")
class TestKill:
    async def test_tokens_of_a_killed_key_are_refused_and_sessions_continue_J5(
        self, auth: httpx.AsyncClient, run: Run, database_url: str
    ) -> None:
        before = await register(auth, username="ann")
        killed = key_of(before["token"])
        assert await status(auth, before["token"]) == 200
        code, said = await asyncio.to_thread(run, "kill", killed[:8], "--reason", "seen in a log")
        assert code == 0, said
        assert "is killed, but auth does not respond at http://127.0.0.1:9" in said
        async with asyncio.timeout(30):
            while await status(auth, before["token"]) != 401:  # noqa: ASYNC110 - the feed
                await asyncio.sleep(0.01)
        after = (await refresh(auth, before["refresh_token"])).json()

        assert key_of(after["token"]) != killed
        assert await status(auth, after["token"]) == 200
        assert await published(auth) == [key_of(after["token"])]
        found = [one for one in records(database_url, EVENTS) if one["action"] == "SIGNING_KEY_KILLED"]
        assert [(one["resource"], one["metadata"]["reason"]) for one in found] == [(killed, "seen in a log")]
        row = next(row for row in rows(database_url, SigningKey) if row["id"] == killed)
        assert row["private_pem"] == ""

    async def test_a_waiting_key_takes_its_place(self, auth: httpx.AsyncClient, run: Run) -> None:
        old = key_of((await register(auth, username="ann"))["token"])
        await asyncio.to_thread(run, "rotate")
        waiting = (await published(auth))[0]
        await asyncio.to_thread(run, "kill", old)

        assert await signed_by(auth, waiting)
        assert await published(auth) == [waiting]

    async def test_killed_key_is_refused_permanently(
        self, make_auth_settings: Callable[..., Settings], run: Run, database_url: str
    ) -> None:
        """A stolen key signs tokens that expire when the thief likes, and verifiers cache them."""
        async with running(create_app, make_auth_settings()) as auth:
            token = (await register(auth))["token"]
        await asyncio.to_thread(run, "kill", key_of(token))
        let_time_pass(database_url, Revoked, "expires", timedelta(days=365))
        async with running(create_app, make_auth_settings()) as auth:
            feed = await auth.get("/internal/revocations?after=0", headers=bearer(internal_token("auth")))

            assert [(one["kind"], one["subject"]) for one in feed.json()["revocations"]] == [
                ("key", key_of(token))
            ]
            assert await status(auth, token) == 401


class TestRefusals:
    def test_wrong_arguments_change_nothing(
        self, run: Run, make_auth_settings: Callable[..., Settings], database_url: str
    ) -> None:
        make_auth_settings()  # which migrates

        assert run("list") == (0, "no keys yet: auth creates the first one when it starts\n")
        assert run("rotate") == (1, "there is no key yet; auth creates the first one when it starts\n")
        assert run("kill", "x" * 43) == (1, f"no key has the id {'x' * 43!r}\n")
        assert run("kill", "--", "-" * 43) == (1, f"no key has the id {'-' * 43!r}\n")
        for wrong in (
            ("kill", "short"),
            ("kill",),
            ("rotate", "--after", "-1"),
            ("rotate", "--after", "9" * 9),
        ):
            assert run(*wrong)[0] == 2
        assert rows(database_url, SigningKey) == []

    def test_no_new_id_can_be_read_as_an_option(
        self, make_auth_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = make_auth_settings()
        ids = iter(["-" * 43, "-k" * 21, "k" * 43])
        monkeypatch.setattr("services.auth.keys.signing_keys.thumbprint", lambda _: next(ids))
        database = Database(settings.database_url, pool_size=1)
        made = SigningKeys(settings, database).new_key()
        database.close()

        assert made.id == "k" * 43

    def test_an_old_database_is_not_touched(self, run: Run) -> None:
        code, said = run("rotate")

        assert code == 1
        assert "is at version none" in said

    def test_a_shared_secret_is_not_a_key(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JWT_SECRET", TEST_JWT_SECRET)

        assert run("list")[0] == 1
        assert "change JWT_SECRET instead" in run("rotate")[1]

    def test_another_key_secret_changes_nothing(
        self, run: Run, make_auth_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KEY_SECRET", "0f9e8d7c6b5a49382716051423324150")
        settings = make_auth_settings()
        database = Database(settings.database_url, pool_size=1)
        SigningKeys(settings, database).prepare()
        database.close()

        assert "KEY_SECRET is not the one" in run("rotate")[1]
        assert len(rows(settings.database_url, SigningKey)) == 1

    def test_the_eleventh_published_key_is_refused(
        self, run: Run, make_auth_settings: Callable[..., Settings], database_url: str
    ) -> None:
        settings = make_auth_settings()
        database = Database(settings.database_url, pool_size=1)
        SigningKeys(settings, database).prepare()
        with database.transaction() as session:
            session.add_all(key(number) for number in range(2, PUBLISHED_MAX + 1))
        database.close()

        assert run("rotate") == (1, "10 keys are published; wait until the oldest is retired\n")
