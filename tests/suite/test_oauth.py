"""OAuth clients of the whole suite: through the gateway, and with third-party libraries."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.testing import bearer
from tests import support
from tests.auth.oauth.support import (
    REDIRECT,
    answer,
    ask_token,
    authorize,
    back,
    basic,
    create_client,
    redeem,
    refresh,
    sign_in,
)
from tests.auth.support import register
from tests.suite.conftest import Suite
from tests.suite.test_revocation import seconds_until_refused

SCRIPT = Path(__file__).parent / "oauth_clients.mjs"
PYTHON_SCRIPT = SCRIPT.with_suffix(".py")
PYTHON_PACKAGES = ("authlib==1.9.8", "joserfc==1.8.0", "requests==2.34.2", "requests-oauthlib==2.0.0")
PACKAGES = ("openid-client@6.8.9", "oauth4webapi@3.8.8", "jose@6.2.17")


async def allowed(client: httpx.AsyncClient, app: dict[str, Any], suite: Suite, scope: str) -> dict[str, Any]:
    """Return the tokens of an app that a new user has authorized on the pages."""
    user = (await register(client))["user"]
    assert (await sign_in(client, user["email"])).status_code == 303
    told = back(await answer(client, await authorize(client, app, scope=scope)))
    assert told["iss"] == suite.url
    tokens: dict[str, Any] = (await redeem(client, app, told["code"])).json()
    return tokens


async def test_app_acts_for_a_user_until_its_token_is_revoked(each_suite: Suite) -> None:
    async with each_suite.client() as client:
        app = await create_client(client, scopes=["openid", "full_access"])
        narrow = await allowed(client, app, each_suite, "openid")
        tokens = await allowed(client, app, each_suite, "openid full_access")
        headers = bearer(tokens["access_token"])

        assert (await client.get("/orders", headers=headers)).status_code == 200
        assert (await client.get("/users/me", headers=headers)).status_code == 200
        assert (await client.get("/orders", headers=bearer(narrow["access_token"]))).status_code == 401
        form = {"token": tokens["access_token"]}
        assert (await client.post("/oauth/revoke", data=form, headers=basic(app))).status_code == 200
        assert await seconds_until_refused(client, f"{each_suite.url}/orders", headers) < 1
        again = (await refresh(client, app, tokens["refresh_token"])).json()
        headers = bearer(again["access_token"])
        assert (await client.get("/orders", headers=headers)).status_code == 200
        form = {"token": again["refresh_token"]}
        assert (await client.post("/oauth/revoke", data=form, headers=basic(app))).status_code == 200
        assert await seconds_until_refused(client, f"{each_suite.url}/orders", headers) < 1


async def test_client_acts_for_itself_with_client_credentials(each_suite: Suite) -> None:
    async with each_suite.client() as client:
        fields = {"grant_types": ["client_credentials"], "redirect_uris": [], "scopes": ["full_access"]}
        app = await create_client(client, **fields)
        tokens = (await ask_token(client, app, grant_type="client_credentials")).json()
        headers = bearer(tokens["access_token"])

        order = {"product_name": "Pen", "quantity": 1, "total_price": 2.5}
        placed = await client.post("/orders", json=order, headers=headers)
        assert placed.json()["user_id"] == app["client_id"]
        statuses = {
            path: (await client.get(path, headers=headers)).status_code
            for path in ("/orders", "/users/me", "/auth/me", "/clients", "/audit", "/files")
        }
        assert all(status < 500 for status in statuses.values()), statuses
        assert statuses["/auth/me"] == 401
        assert statuses["/clients"] == 403


@pytest.mark.conforms("OIDC Discovery 4.3", "oidcc-discovery-endpoint-verification")
async def test_metadata_names_the_gateway_as_issuer_O13(suite: Suite) -> None:
    async with suite.client() as client:
        document = (await client.get("/.well-known/openid-configuration")).json()
        page = await client.get("/auth/signin")

        assert document["issuer"] == suite.url
        assert (await client.get(document["jwks_uri"])).json()["keys"]
        assert page.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.prove
@pytest.mark.conforms("RFC 6749 4.1", "oidcc-server")
async def test_third_party_client_libraries_complete_their_flows(
    suite: Suite, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    command = [install(tmp_path), SCRIPT.name]
    check_steps(run(command, tmp_path, await clients_of(suite)), 16, record_property)


@pytest.mark.prove
@pytest.mark.conforms("RFC 6749 4.1", "oidcc-server")
async def test_client_libraries_of_python_complete_their_flows(
    suite: Suite, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    command = [install_python(tmp_path), str(PYTHON_SCRIPT)]
    check_steps(run(command, tmp_path, await clients_of(suite)), 7, record_property)


async def clients_of(suite: Suite) -> dict[str, Any]:
    """Return what a program of client libraries needs: clients, and a user who has no session yet."""
    async with suite.client() as client:
        machine = {"grant_types": ["client_credentials"], "redirect_uris": [], "scopes": ["full_access"]}
        scopes = ["openid", "profile", "email", "offline_access", "full_access"]
        user = (await register(client))["user"]
        return {
            "issuer": suite.url,
            "redirect": REDIRECT,
            "email": user["email"],
            "sub": user["id"],
            "web": await create_client(client, scopes=scopes),
            "native": await create_client(client, scopes=scopes, is_public=True),
            "machine": await create_client(client, **machine),
        }


def check_steps(
    done: subprocess.CompletedProcess[str], number: int, record: Callable[[str, object], None]
) -> None:
    """Record every step that the program reports; all of them must have succeeded."""
    steps = [line.removeprefix("ok ").split(": ", 1) for line in done.stdout.splitlines()]
    for step in steps:
        record("conforms", step)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(steps) == number, done.stdout


def install_python(folder: Path) -> str:
    """Install the clients of Python in an environment of their own; return the path of its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", folder / "environment"], check=True)
    python = str(folder / "environment" / "bin" / "python")
    quiet = ["--quiet", "--disable-pip-version-check"]
    if subprocess.run([python, "-m", "pip", "install", *quiet, *PYTHON_PACKAGES], check=False).returncode:
        support.do_without("pip cannot install the clients")
    return python


def install(folder: Path) -> str:
    """Install the clients and the script in a directory; return the path of node."""
    node = support.install_from_npm(folder, *PACKAGES)
    shutil.copy(SCRIPT, folder / SCRIPT.name)
    return node


def run(command: list[str], folder: Path, given: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "OAUTHLIB_INSECURE_TRANSPORT": "1"},
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
