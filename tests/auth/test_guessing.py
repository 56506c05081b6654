"""How often a password can be guessed, and that guesses do not lock out the owner."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import count
from typing import Any

import httpx
import pytest

from services.auth.app import create_app
from services.auth.credentials import throttle
from services.auth.credentials.devices import COOKIE, DEVICES_PER_ACCOUNT_MAX, KEPT
from services.auth.credentials.throttle import (
    BLOCK_SECONDS_MAX,
    FREE_FAILURES,
    STRANGERS_AT_ONCE,
    STRANGERS_INTERVAL,
    Attempt,
    block_seconds,
)
from services.auth.errors import LoginThrottled
from services.auth.models import KnownDevice, LoginAttempts
from services.auth.settings import Settings
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.hashing import sha256_hex
from shared.testing import bearer, internal_token, running
from tests.auth.conftest import StoppedClock
from tests.auth.support import PASSWORD, let_time_pass, login, register, rows

HERE, THERE = "192.0.2.1", "198.51.100.7"
WRONG = "wrong password"


async def attempt(
    auth: httpx.AsyncClient,
    name: str,
    password: str = PASSWORD,
    *,
    address: str = HERE,
    device: str | None = None,
) -> httpx.Response:
    headers = {"X-Forwarded-For": address}
    if device is not None:
        headers["Cookie"] = f"theme=dark; {COOKIE}={device}"
    kind = "email" if "@" in name else "username"
    return await auth.post("/auth/login", json={kind: name, "password": password}, headers=headers)


def device_of(response: httpx.Response) -> str:
    name, _, rest = response.headers["set-cookie"].partition("=")
    assert name == COOKIE
    device: str = rest.partition(";")[0]
    return device


async def guess_from_everywhere(auth: httpx.AsyncClient, name: str, guesses: int) -> list[int]:
    """Return the statuses of wrong guesses, each from a different address."""
    found = []
    for first in range(0, guesses, 50):
        numbers = range(first, min(first + 50, guesses))
        addresses = [f"10.1.{n // 250}.{n % 250}" for n in numbers]
        answers = await asyncio.gather(*[attempt(auth, name, WRONG, address=each) for each in addresses])
        found += [answer.status_code for answer in answers]
    return found


class TestOneNetwork:
    async def test_network_is_blocked_after_five_failures_and_longer_each_time_A8(
        self, auth: httpx.AsyncClient, clock: StoppedClock
    ) -> None:
        await register(auth, username="ann")
        for _ in range(FREE_FAILURES):
            assert (await attempt(auth, "ann", WRONG)).status_code == 401
        for seconds in (2, 4, 8):
            blocked = await attempt(auth, "ann")

            assert blocked.status_code == 429
            assert blocked.json()["code"] == "login_throttled"
            assert blocked.headers["retry-after"] == str(seconds)
            clock.advance(seconds - 0.5)
            assert (await attempt(auth, "ann")).headers["retry-after"] == "1"
            clock.advance(0.5)
            assert (await attempt(auth, "ann", WRONG)).status_code == 401
        clock.advance(16)
        assert (await attempt(auth, "ann")).status_code == 200

    @pytest.mark.parametrize("name", ["ann", "admin"])
    async def test_guesses_from_one_network_do_not_lock_out_the_owner_elsewhere(
        self, auth: httpx.AsyncClient, clock: StoppedClock, name: str
    ) -> None:
        password = "admin123" if name == "admin" else PASSWORD
        await register(auth, username="ann")
        for _ in range(24 * 3600 // BLOCK_SECONDS_MAX):  # for a day, as often as one address is allowed to
            await attempt(auth, name, WRONG, address="127.0.0.3")
            clock.advance(BLOCK_SECONDS_MAX)
        assert (await attempt(auth, name, WRONG, address="127.0.0.3")).status_code == 401
        assert (await attempt(auth, name, password, address="127.0.0.3")).status_code == 429

        assert (await attempt(auth, name, password, address="127.0.0.4")).status_code == 200

    async def test_addresses_of_one_ipv6_network_are_counted_together(
        self, auth: httpx.AsyncClient, clock: StoppedClock
    ) -> None:
        await register(auth, username="ann")
        for n in range(FREE_FAILURES):
            await attempt(auth, "ann", WRONG, address=f"2001:db8::{n}")

        assert (await attempt(auth, "ann", address="2001:db8::abcd:1")).status_code == 429
        assert (await attempt(auth, "ann", address="2001:db8:0:1::1")).status_code == 200

    async def test_email_and_username_are_counted_together(
        self, auth: httpx.AsyncClient, clock: StoppedClock
    ) -> None:
        await register(auth, username="ann", email="ann@example.com")
        names = ["ann", "ann@example.com", "ANN", "Ann@Example.com", "ann"]
        for name in names:
            assert (await attempt(auth, name, WRONG)).status_code == 401

        assert len(names) == FREE_FAILURES
        assert (await attempt(auth, "ann@example.com", WRONG)).status_code == 429
        assert (await attempt(auth, "ann", WRONG)).status_code == 429

    async def test_correct_password_resets_the_counter(self, auth: httpx.AsyncClient) -> None:
        await register(auth, username="ann")
        for _ in range(3):
            for _ in range(FREE_FAILURES - 1):
                assert (await attempt(auth, "ann", WRONG)).status_code == 401
            assert (await attempt(auth, "ann")).status_code == 200

    async def test_other_accounts_are_not_blocked(self, auth: httpx.AsyncClient, clock: StoppedClock) -> None:
        await register(auth, username="ann")
        await register(auth, username="bob")
        for _ in range(FREE_FAILURES + 1):
            await attempt(auth, "ann", WRONG)

        assert (await attempt(auth, "bob")).status_code == 200

    def test_block_has_a_maximum_duration_A8(self) -> None:
        assert [block_seconds(n) for n in (1, 4, 5, 6)] == [0, 0, 2, 4]
        assert block_seconds(10_000_000) == BLOCK_SECONDS_MAX


class TestParallelGuesses:
    async def test_five_of_fifty_concurrent_guesses_are_checked_A8(
        self, auth: httpx.AsyncClient, clock: StoppedClock
    ) -> None:
        await register(auth, username="ann", email="ann@example.com")
        names = ["ann", "ann@example.com"]
        responses = await asyncio.gather(*[attempt(auth, names[n % 2], f"guess {n:04}") for n in range(50)])

        statuses = [response.status_code for response in responses]
        assert statuses.count(401) == FREE_FAILURES
        assert statuses.count(429) == 50 - FREE_FAILURES

    async def test_fifty_concurrent_guesses_from_many_networks_count_as_fifty(
        self, auth: httpx.AsyncClient, clock: StoppedClock
    ) -> None:
        await register(auth, username="ann")
        assert await guess_from_everywhere(auth, "ann", 50) == [401] * 50
        left = await guess_from_everywhere(auth, "ann", STRANGERS_AT_ONCE)

        assert left.count(401) == STRANGERS_AT_ONCE - 50

    async def test_replicas_share_the_counters_A8(
        self, make_auth_settings: Callable[..., Settings], clock: StoppedClock
    ) -> None:
        async with AsyncExitStack() as stack:
            replicas = [
                await stack.enter_async_context(running(create_app, make_auth_settings())) for _ in range(2)
            ]
            await register(replicas[0], username="ann")
            guesses = [attempt(replicas[n % 2], "ann", WRONG) for n in range(20)]
            statuses = [response.status_code for response in await asyncio.gather(*guesses)]

            assert statuses.count(401) == FREE_FAILURES

    async def test_attempts_concurrent_with_successful_ones_do_not_fail(
        self, make_auth_settings: Callable[..., Settings], clock: StoppedClock
    ) -> None:
        # A success deletes the row that a concurrent attempt has just found.
        async with running(create_app, make_auth_settings(), raise_app_exceptions=False) as auth:
            await register(auth, username="ann")
            for _ in range(15):
                responses = await asyncio.gather(*[attempt(auth, "ann") for _ in range(10)])
                assert {response.status_code for response in responses} <= {200, 429}
                clock.advance(BLOCK_SECONDS_MAX)


class TestGuessesFromEverywhere:
    @pytest.mark.prove
    async def test_guesses_from_a_thousand_addresses_do_not_lock_out_a_known_device_A8(
        self, auth: httpx.AsyncClient, clock: StoppedClock
    ) -> None:
        await register(auth, username="ann")
        device = device_of(await attempt(auth, "ann"))
        statuses = await guess_from_everywhere(auth, "ann", 1000)
        assert statuses.count(401) == STRANGERS_AT_ONCE
        assert statuses.count(429) == 1000 - STRANGERS_AT_ONCE

        assert (await attempt(auth, "ann", address=THERE, device=device)).status_code == 200
        slowed = await attempt(auth, "ann", address=THERE)
        assert slowed.status_code == 429
        assert slowed.headers["retry-after"] == str(int(STRANGERS_INTERVAL.total_seconds()))

    async def test_account_is_throttled_and_never_locked(
        self, auth: httpx.AsyncClient, clock: StoppedClock
    ) -> None:
        await register(auth, username="ann")
        await guess_from_everywhere(auth, "ann", STRANGERS_AT_ONCE + 20)
        clock.advance(STRANGERS_INTERVAL.total_seconds())

        assert (await attempt(auth, "ann", address=THERE)).status_code == 200

    def test_guesses_per_day_are_limited(
        self, make_auth_settings: Callable[..., Settings], clock: StoppedClock
    ) -> None:
        settings = make_auth_settings()
        upgrade(settings.database_url, settings.migrations())
        database = Database(settings.database_url, pool_size=1)
        looked_at = 0
        for n in range(24 * 12):
            for m in range(STRANGERS_AT_ONCE + 1):
                attempt = Attempt.at_login("account 7", network=f"{n}.{m}", known_device=None)
                try:
                    with database.transaction() as session:
                        attempt.count(session)
                except LoginThrottled:
                    break
                looked_at += 1
            clock.advance(300)
        database.close()

        per_day = timedelta(days=1) // STRANGERS_INTERVAL
        assert (
            looked_at == STRANGERS_AT_ONCE + per_day - 1
        )  # the one freed at midnight belongs to the next day
        assert looked_at < 400

    async def test_successful_sign_ins_do_not_count_against_the_limit(
        self, auth: httpx.AsyncClient, clock: StoppedClock
    ) -> None:
        await register(auth, username="ann")
        for n in range(STRANGERS_AT_ONCE + 5):
            assert (await attempt(auth, "ann", address=f"10.3.0.{n}")).status_code == 200

    async def test_known_device_is_blocked_after_five_failures(
        self, auth: httpx.AsyncClient, clock: StoppedClock
    ) -> None:
        await register(auth, username="ann")
        device = device_of(await attempt(auth, "ann"))
        guesses = [await attempt(auth, "ann", WRONG, address=f"10.4.0.{n}", device=device) for n in range(10)]

        assert [each.status_code for each in guesses].count(401) == FREE_FAILURES
        assert (await attempt(auth, "ann", address=THERE)).status_code == 200


class TestUnknownNames:
    async def test_unknown_names_are_blocked_like_known_ones_A8(
        self, auth: httpx.AsyncClient, clock: StoppedClock
    ) -> None:
        registered = await attempt_to_register(auth, "ann")
        device = device_of(registered)
        answers = {}
        for name in ("ann", "nobody"):
            responses = [
                await attempt(auth, name, WRONG, device=device[::-1]) for _ in range(FREE_FAILURES + 1)
            ]
            everywhere = await guess_from_everywhere(auth, name, STRANGERS_AT_ONCE + 10)
            blocked = [responses[-1], await attempt(auth, name, WRONG, address=THERE)]
            answers[name] = (
                [response.status_code for response in responses],
                everywhere.count(401),
                [{**each.json(), "request_id": None} for each in blocked],
                [each.headers["retry-after"] for each in blocked],
                [sorted(each.headers) for each in (*responses, *blocked)],
            )

        assert answers["ann"] == answers["nobody"]

    async def test_known_and_unknown_names_use_the_same_counters(
        self, make_auth_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        statements: list[str] = []
        async with running(create_app, make_auth_settings()) as auth:
            device = device_of(await attempt_to_register(auth, "ann"))
            other = device_of(await attempt_to_register(auth, "bob"))
            real = throttle.Attempt.count

            def noting(self: throttle.Attempt, session: Any) -> None:
                statements.append("strangers" if self.strangers else "own alone")
                real(self, session)

            monkeypatch.setattr(throttle.Attempt, "count", noting)
            await attempt(auth, "ann", WRONG, device=other)
            await attempt(auth, "nobody", WRONG, device=other)
            await attempt(auth, "ann", WRONG, device=device)

        assert statements == ["strangers", "strangers", "own alone"]


async def attempt_to_register(auth: httpx.AsyncClient, username: str) -> httpx.Response:
    body = {"email": f"{username}@example.com", "username": username, "password": PASSWORD}
    response = await auth.post("/auth/register", json=body)
    assert response.status_code == 201
    return response


class TestDevices:
    async def test_device_cookie_has_the_secure_attributes(self, auth: httpx.AsyncClient) -> None:
        response = await attempt_to_register(auth, "ann")
        _, *attributes = response.headers["set-cookie"].split("; ")

        assert set(attributes) == {
            f"Max-Age={int(KEPT.total_seconds())}",
            "Path=/",
            "Secure",
            "HttpOnly",
            "SameSite=Strict",
        }

    async def test_refused_attempt_gets_no_cookie(self, auth: httpx.AsyncClient) -> None:
        await register(auth, username="ann")

        assert "set-cookie" not in (await attempt(auth, "ann", WRONG)).headers

    async def test_device_can_be_known_to_several_accounts(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        device = device_of(await attempt_to_register(auth, "ann"))
        await attempt_to_register(auth, "bob")
        response = await attempt(auth, "bob", device=device)

        assert device_of(response) == device
        ids = [row["device_id"] for row in rows(database_url, KnownDevice)]
        assert (len(ids), len(set(ids))) == (3, 2)

    @pytest.mark.parametrize(
        "how", ["of another account", "made up", "truncated", "with a wrong MAC", "not base64"]
    )
    async def test_forged_or_foreign_cookie_is_not_a_known_device(
        self, auth: httpx.AsyncClient, clock: StoppedClock, how: str
    ) -> None:
        mine = device_of(await attempt_to_register(auth, "ann"))
        device = {
            "of another account": device_of(await attempt_to_register(auth, "bob")),
            "made up": "A" * 43,
            "truncated": mine[:-1],
            "with a wrong MAC": mine[:22] + ("A" if mine[22] != "A" else "B") + mine[23:],
            "not base64": "*" * 43,
        }[how]
        for _ in range(FREE_FAILURES):
            await attempt(auth, "ann", WRONG)

        assert (await attempt(auth, "ann", device=device)).status_code == 429
        assert (await attempt(auth, "ann", device=mine)).status_code == 200

    async def test_password_change_forgets_all_devices_except_the_current_one(
        self, auth: httpx.AsyncClient, clock: StoppedClock
    ) -> None:
        await register(auth, username="ann")
        here, there = [await attempt(auth, "ann") for _ in range(2)]
        body = {"current_password": PASSWORD, "new_password": "another password"}
        cookie = {"Cookie": f"{COOKIE}={device_of(here)}"}
        headers = bearer(here.json()["token"]) | cookie
        assert (await auth.put("/auth/me/password", json=body, headers=headers)).status_code == 204
        await guess_from_everywhere(auth, "ann", STRANGERS_AT_ONCE)

        statuses = [
            (await attempt(auth, "ann", "another password", device=device_of(each))).status_code
            for each in (here, there)
        ]
        assert statuses == [200, 429]

    async def test_account_has_a_maximum_number_of_devices(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        await register(auth, username="ann")
        for n in range(DEVICES_PER_ACCOUNT_MAX + 3):
            last = await attempt(auth, "ann", address=f"10.5.0.{n}")

        assert len(rows(database_url, KnownDevice)) == DEVICES_PER_ACCOUNT_MAX
        assert device_of(await attempt(auth, "ann", device=device_of(last))) == device_of(last)

    async def test_device_unused_for_long_is_forgotten(
        self, auth: httpx.AsyncClient, database_url: str, clock: StoppedClock
    ) -> None:
        device = device_of(await attempt_to_register(auth, "ann"))
        let_time_pass(database_url, KnownDevice, "used", KEPT + timedelta(days=1))
        for _ in range(FREE_FAILURES):
            await attempt(auth, "ann", WRONG)
        assert (await attempt(auth, "ann", device=device)).status_code == 429
        await attempt(auth, "ann", address=THERE)

        assert len(rows(database_url, KnownDevice)) == 1

    async def test_deleting_an_account_deletes_its_devices(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        user = (await register(auth, username="ann"))["user"]
        assert len(rows(database_url, KnownDevice)) == 1
        await auth.delete(f"/internal/accounts/{user['id']}", headers=bearer(internal_token("auth")))

        assert rows(database_url, KnownDevice) == []


class TestRows:
    async def test_names_are_not_stored_in_clear_text(
        self, auth: httpx.AsyncClient, database_url: str
    ) -> None:
        await login(auth, "my secret typed into the wrong field", "x")

        assert "secret" not in str(rows(database_url, LoginAttempts))

    async def test_old_rows_are_deleted(self, auth: httpx.AsyncClient, database_url: str) -> None:
        for n in range(3):
            await login(auth, f"nobody{n}", "x")
        let_time_pass(database_url, LoginAttempts, "updated", timedelta(days=2))
        await login(auth, "nobody", "x")

        assert len(rows(database_url, LoginAttempts)) == 2  # of the network, and of the name alone

    async def test_unauthenticated_clients_cannot_fill_the_table(
        self, auth: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(throttle, "ROWS_MAX", 20)
        monkeypatch.setattr(throttle, "SURPLUS_EVERY", 5)
        monkeypatch.setattr(throttle, "_attempts_made", count(1))
        for n in range(50):
            await attempt(auth, f"nobody{n}", "x", address=f"10.6.0.{n}")
        kept = {row["name_hash"] for row in rows(database_url, LoginAttempts)}

        assert len(kept) == 20
        assert sha256_hex("login name nobody49") in kept  # the oldest rows are deleted
        assert sha256_hex("login name nobody0") not in kept
