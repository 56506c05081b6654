"""The sign-in and account pages in Chromium: a whole visit, and axe-core on every page."""

import json
import os
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from tests import support
from tests.auth.oauth.support import create_client, query_of
from tests.suite.accounts import PASSWORD, register
from tests.suite.conftest import running_suite

pytestmark = [pytest.mark.prove, pytest.mark.long(1)]

PACKAGES = ("playwright-core@1.65.1", "axe-core@4.14.1")
SCRIPT = Path(__file__).with_name("account_browser.cjs")
SECONDS = 300


async def test_user_enrols_factors_consents_ends_a_session_and_signs_out(tmp_path: Path) -> None:
    (chromium,) = support.need("chromium")
    node = support.install_from_npm(tmp_path, *PACKAGES)
    script = tmp_path / SCRIPT.name
    script.write_text(SCRIPT.read_text())  # next to the packages that it loads
    port, app_port = support.free_port(), support.free_port()
    redirect_uri = f"http://127.0.0.1:{app_port}/callback"
    url = f"http://localhost:{port}"  # browsers allow passkeys for a host name only, not for an address
    google = {"GOOGLE_CLIENT_ID": "gatehouse", "GOOGLE_CLIENT_SECRET": "only shown as a button"}
    with running_suite(tmp_path / "data", {"GATEWAY_PORT": str(port), "OAUTH_ISSUER": url, **google}):
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            person, app = await register(client), await create_client(client, redirect_uris=[redirect_uri])
        scope = "openid profile email offline_access"
        given = {
            "chromium": chromium,
            "url": url,
            "email": person.email,
            "password": PASSWORD,
            "authorize": f"/oauth/authorize?{query_of(app, scope=scope, redirect_uri=redirect_uri)}",
            "appPort": app_port,
            "length": support.length(1),
            "shots": os.environ.get("SHOTS", ""),
        }
        done = subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
            [node, str(script)],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)

    assert (seen["faults"], seen["violations"], seen["wide"]) == ([], [], [])
    assert seen["redirect"].startswith(f"{redirect_uri}?code=")
    assert urlencode({"iss": url}) in seen["redirect"]
    assert seen["steps"] == [
        "signed in",
        "enrolled an app with 10 codes",
        "added a passkey",
        "created a token",
        "consented",
        "ended 1 session",
        "stepped up",
        "signed in with password and passkey",
        "signed in with a passkey",
        "signed out",
    ]
