"""Signing in through the gateway with a certified OpenID provider in place of Google."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import support
from tests.auth.support import register
from tests.suite.conftest import Suite, running_suite

pytestmark = pytest.mark.prove
SCRIPT = Path(__file__).parent / "openid_provider.mjs"
PACKAGE = "oidc-provider@9.13.3"
CLIENT = {"client_id": "gatehouse", "client_secret": "s3cret/with+signs"}
STEPS_MAX = 12


@contextmanager
def provider(folder: Path, port: int, back: str) -> Iterator[str]:
    """Run the provider; yields its issuer."""
    node = support.install_from_npm(folder, PACKAGE)
    shutil.copy(SCRIPT, folder / SCRIPT.name)
    issuer = f"http://127.0.0.1:{port}"
    given = {"issuer": issuer, "port": port, "redirect_uris": [back], "cookie_key": "k" * 32, **CLIENT}
    with subprocess.Popen(
        [node, SCRIPT.name],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(given))
            process.stdin.close()
            lines = []
            while (line := process.stdout.readline()) != "ready\n":
                lines.append(line)
                assert line, "".join(lines)
            yield issuer
        finally:
            process.kill()


async def browse(browser: httpx.AsyncClient, url: str, back: str, person: str) -> str:
    """Go through the pages of the provider until it sends the browser back; return that URL."""
    for _ in range(STEPS_MAX):
        if url.startswith(f"{back}?"):
            return url
        response = await browser.get(url)
        if response.status_code == 200:
            (action,) = re.findall(r'action="([^"]+)"', response.text)[:1]
            (prompt,) = re.findall(r'name="prompt" value="([^"]+)"', response.text)
            form = {"prompt": prompt, "login": person, "password": "any"}
            response = await browser.post(str(httpx.URL(url).join(action)), data=form)
        assert response.status_code in (302, 303), response.text
        url = str(httpx.URL(str(response.url)).join(response.headers["location"]))
    raise AssertionError(f"the browser is in a redirect loop at {url}")


async def test_certified_provider_signs_in_through_the_gateway(tmp_path: Path) -> None:
    port = support.free_port()
    google: dict[str, Any] = {"issuer": f"http://127.0.0.1:{port}", "short_callback": True, **CLIENT}
    settings = {"AUTH_PROVIDERS": json.dumps({"google": google})}
    with running_suite(tmp_path / "suite", settings) as suite:
        back = f"{suite.url}/auth/callback"
        with provider(tmp_path, port, back):
            await _sign_in(suite, back)
        # The provider is down from here on. Its metadata are cached, but no code can be redeemed.
        async with suite.client() as browser:
            sent = (await browser.get("/auth/providers/google")).headers["location"]
            state = httpx.URL(sent).params["state"]
            query = {"code": "x", "state": state, "iss": google["issuer"]}
            down = await browser.get("/auth/callback", params=query, headers={"Accept": "text/html"})
            assert (down.status_code, "cannot be reached" in down.text) == (503, True)


async def _sign_in(suite: Suite, back: str) -> None:
    async with suite.client() as browser:
        page = (await browser.get("/auth/signin")).text
        assert 'href="/auth/providers/google">Continue with Google</a>' in page
        sent = (await browser.get("/auth/providers/google")).headers["location"]
        returned = await browse(browser, sent, back, "ann")
        assert set(httpx.URL(returned).params) == {"code", "state", "iss"}
        arrived = await browser.get(returned)
        assert (arrived.status_code, arrived.headers["location"]) == (303, "/auth/signin")
        me = (await browser.get("/auth/me")).json()
        assert (me["email"], me["email_verified"], me["first_name"]) == ("ann@example.com", True, "Ann")
        assert (await browser.get("/orders")).status_code == 200  # the gateway exchanges the cookie
        replayed = await browser.get(returned)
        assert (replayed.status_code, replayed.json()["code"]) == (400, "invalid_state")
    async with suite.client() as browser:
        sent = (await browser.get("/auth/login")).headers["location"]
        arrived = await browser.get(await browse(browser, sent, back, "ann"))
        again = (await browser.get("/auth/me")).json()
        assert again["id"] == me["id"]
        done = await browser.get("/auth/logout", headers={"Sec-Fetch-Site": "same-origin"})
        assert (done.status_code, done.json()) == (200, {})
        assert (await browser.get("/auth/me")).status_code == 401
    async with suite.client() as browser:
        await register(browser, email="bob@example.com")
        sent = (await browser.get("/auth/providers/google")).headers["location"]
        claimed = await browser.get(await browse(browser, sent, back, "bob"))
        assert claimed.status_code == 303  # the address was never confirmed, and now it is bob's
        body = {"email": "bob@example.com", "password": "password123"}
        assert (await browser.post("/auth/login", json=body)).status_code == 401
