"""Runs Python's OAuth clients against a suite. Prints a line per successful step: RFC section and action."""

import json
import re
import sys
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from joserfc import jwt
from joserfc.jwk import KeySet
from requests_oauthlib import OAuth2Session

GIVEN = json.load(sys.stdin)
ISSUER, REDIRECT = GIVEN["issuer"], GIVEN["redirect"]
OURS = {"Sec-Fetch-Site": "same-origin"}
SCOPES = ["openid", "email", "offline_access"]


def ok(section: str, what: str) -> None:
    print(f"ok {section}: {what}")


def browse(browser: requests.Session, url: str) -> str:
    """Sign in and allow everything, as a person would; return the URL of the app that it ends at."""
    for _ in range(10):
        if url.startswith(REDIRECT):
            return url
        page = browser.get(url, allow_redirects=False)
        if page.status_code == 200:
            fields = dict(re.findall(r'name="([a-z_]+)" value="([^"]*)"', page.text))
            if 'action="/oauth/consent"' in page.text:
                path, form = "/oauth/consent", {"request": unescape(fields["request"]), "answer": "allow"}
            else:
                path = "/auth/signin"
                form = {"name": GIVEN["email"], "password": "password123", "next": unescape(fields["next"])}
            page = browser.post(ISSUER + path, data=form, headers=OURS, allow_redirects=False)
        assert page.status_code == 303, page.text
        to = page.headers["location"]
        url = to if "://" in to else ISSUER + to
    raise AssertionError("the browser is in a redirect loop")


def with_requests_oauthlib(metadata: dict[str, Any], app: dict[str, Any]) -> None:
    session = OAuth2Session(app["client_id"], redirect_uri=REDIRECT, scope=SCOPES, pkce="S256")
    url, state = session.authorization_url(metadata["authorization_endpoint"])
    back = browse(requests.Session(), url)
    assert parse_qs(urlsplit(back).query)["state"] == [state]
    secret = app["client_secret"]
    tokens = session.fetch_token(
        metadata["token_endpoint"], authorization_response=back, client_secret=secret
    )
    ok("RFC 6749 4.1, 7636", "requests-oauthlib: code with PKCE and state")
    assert session.get(metadata["userinfo_endpoint"]).json()["email"] == GIVEN["email"]
    ok("RFC 6750 2.1", "requests-oauthlib: userinfo with a bearer token")
    renewed = session.refresh_token(
        metadata["token_endpoint"], auth=(app["client_id"], secret), refresh_token=tokens["refresh_token"]
    )
    assert renewed["refresh_token"] != tokens["refresh_token"]
    ok("RFC 6749 6", "requests-oauthlib: refresh with rotation")


def with_authlib(metadata: dict[str, Any], app: dict[str, Any], machine: dict[str, Any]) -> None:
    session = AuthlibSession(
        app["client_id"],
        app["client_secret"],
        scope=" ".join(SCOPES),
        redirect_uri=REDIRECT,
        code_challenge_method="S256",
    )
    verifier = "authlib-" + "v" * 50
    nonce = "nonce-" + "n" * 20
    url, state = session.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce
    )
    back = browse(requests.Session(), url)
    tokens = session.fetch_token(
        metadata["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier
    )
    ok("RFC 6749 4.1, 7636", "Authlib: code with PKCE and state")
    keys = requests.get(metadata["jwks_uri"], timeout=10).json()
    claims = jwt.decode(tokens["id_token"], KeySet.import_key_set(keys), algorithms=["RS256"]).claims
    expected = jwt.JWTClaimsRegistry(iss={"value": ISSUER}, aud={"value": app["client_id"]})
    expected.validate(claims)
    assert (claims["nonce"], claims["sub"]) == (nonce, GIVEN["sub"])
    ok("OIDC Core 3.1.3.7", "joserfc: ID token, verified with the published keys")
    revoked = session.revoke_token(metadata["revocation_endpoint"], token=tokens["refresh_token"])
    assert revoked.status_code == 200
    ok("RFC 7009 2.1", "Authlib: revocation")
    own = AuthlibSession(machine["client_id"], machine["client_secret"], scope="full_access")
    token = own.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    answer = own.introspect_token(metadata["introspection_endpoint"], token=token["access_token"])
    assert answer.json()["active"] is True
    ok("RFC 6749 4.4, 7662", "Authlib: client credentials and introspection")


METADATA = requests.get(f"{ISSUER}/.well-known/openid-configuration", timeout=10).json()
with_requests_oauthlib(METADATA, GIVEN["web"])
with_authlib(METADATA, GIVEN["web"], GIVEN["machine"])
