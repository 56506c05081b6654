"""Signing keys are rotated and killed by one command while the suite serves requests."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import httpx
import jwt
import pytest

from gatehouse import cli
from shared.testing import bearer
from tests.auth.oauth.support import sign_in
from tests.auth.support import login
from tests.auth.support import register as register_user
from tests.suite.accounts import PASSWORD, register
from tests.suite.conftest import Suite
from tests.suite.test_revocation import PROMISED_SECONDS, doors, let_in_everywhere, refused_everywhere

ROOT = Path(cli.__file__).parent.parent
NEW_KEY_SECONDS = 30  # verifiers fetch an unknown key at most every ten seconds


def command(suite: Suite, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gatehouse", "signing-keys", *arguments],
        cwd=ROOT,
        env=suite.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def key_of(headers: dict[str, str]) -> str:
    key_id: str = jwt.get_unverified_header(headers["Authorization"].removeprefix("Bearer "))["kid"]
    return key_id


@pytest.mark.prove
async def test_keys_are_rotated_and_killed_while_the_suite_runs(each_suite: Suite) -> None:
    async with each_suite.client() as client, each_suite.client() as browser:
        before = await register(client)
        user = (await register_user(browser))["user"]
        assert (await sign_in(browser, user["email"])).status_code == 303
        old = key_of(before.headers)
        assert await let_in_everywhere(client, each_suite, before.headers)
        assert (await browser.get("/orders")).status_code == 200
        await asyncio.to_thread(command, each_suite, "rotate", "--after", "0")
        after = await signed_by_another_key(client, before.email, old)

        assert await accepted_everywhere(client, each_suite, after)
        assert await let_in_everywhere(client, each_suite, before.headers)

        said = await asyncio.to_thread(command, each_suite, "kill", old)
        assert "the gateway and the services refuse its tokens\n" in said
        assert max(await refused_everywhere(client, each_suite, before.headers)) < PROMISED_SECONDS
        assert await let_in_everywhere(client, each_suite, after)
        assert (await browser.get("/orders")).status_code == 200
        renewed = await client.post("/auth/refresh", json={"refresh_token": before.refresh_token})
        assert await let_in_everywhere(client, each_suite, bearer(renewed.json()["token"]))


async def signed_by_another_key(client: httpx.AsyncClient, email: str, old: str) -> dict[str, str]:
    deadline = time.monotonic() + NEW_KEY_SECONDS
    while time.monotonic() < deadline:
        headers = bearer((await login(client, email, PASSWORD)).json()["token"])
        if key_of(headers) != old:
            return headers
        await asyncio.sleep(0.2)
    raise AssertionError("the new key does not sign")


async def accepted_everywhere(client: httpx.AsyncClient, suite: Suite, headers: dict[str, str]) -> bool:
    deadline = time.monotonic() + NEW_KEY_SECONDS
    waiting = set(doors(suite).values())
    while waiting and time.monotonic() < deadline:
        for address in [*waiting]:
            if (await client.get(address, headers=headers)).status_code == 200:
                waiting.discard(address)
        await asyncio.sleep(0.2)
    return not waiting
