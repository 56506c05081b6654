"""Malformed input at every operation of auth: never a 500, and never a redirect to a stranger."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import pytest

from services.auth.app import create_app
from services.auth.credentials.throttle import Pace
from services.auth.routes import OPERATIONS
from services.auth.settings import Settings
from shared.http.operations import Operation, Signature
from shared.identity.tokens import internal
from shared.testing import bearer, internal_token, running
from tests.auth.authenticator import Authenticator, encoded
from tests.auth.browser import sign_in_options
from tests.auth.oauth.support import ISSUER, OURS, REDIRECT, basic, create_client, sign_in
from tests.auth.support import login

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
ADMIN = "admin@example.com"
STRANGER = "https://stranger.example/x"
QUERY_CHARACTERS_MAX = 60_000  # the client of the tests sends no longer URL
MEGABYTE = "x" * 1_000_000
DEEP = "[" * 100_000 + "]" * 100_000
# The fields of all forms and queries. Each operation gets them all, and ignores those of others.
FIELDS = (
    "name email username password new_password current_password first_name last_name next hint token code "
    "mfa_token credential passkey_id session_id client_id identity_id key_id scopes expires provider answer "
    "request user_code factors done cursor limit state error iss duo_code q status role after grant_type "
    "client_secret redirect_uri code_verifier code_challenge code_challenge_method refresh_token scope "
    "response_type response_mode resource prompt max_age id_token_hint post_logout_redirect_uri login_hint "
    "token_type_hint device_code request_uri nonce acr_values claims"
).split()
# In the text of a form or query.
HOSTILE_TEXTS = {
    "nul": "%00",
    "nul inside": "a%00b",
    "no utf-8": "%ff%fe",
    "surrogate": "%ed%a0%80",
    "huge number": "9" * 400,
    "negative": "-1",
    "not a number": "NaN",
    "line break": "a%0d%0aLocation:%20https://stranger.example",
    "stranger": quote(STRANGER, safe=""),
    "no scheme": "%2F%2Fstranger.example%2Fx",
    "back slash": "%2F%5Cstranger.example",
    "json": "%7B%22id%22%3A%22%5Cud800%22%7D",
    "deep json": "%5B" * 250,
}
HOSTILE_JSON = (
    '"\\u0000"',
    '"a\\u0000b"',
    '"\\ud800"',
    '"' + "9" * 400 + '"',
    "9" * 400,
    "1e999",
    "-1",
    "NaN",
    "null",
    "true",
    "[]",
    "{}",
    '[[["\\u0000"]]]',
    json.dumps(STRANGER),
    "[" * 500 + "]" * 500,
)
RFC_ERRORS = {
    "/oauth/token": {"invalid_request", "invalid_client", "unsupported_grant_type", "invalid_grant"},
    "/oauth/device_authorization": {"invalid_request", "invalid_client", "unauthorized_client"},
    "/oauth/par": {"invalid_request", "invalid_client", "invalid_request_object"},
    "/oauth/revoke": {"invalid_request", "invalid_client"},
    "/oauth/introspect": {"invalid_request", "invalid_client"},
}


@dataclass(frozen=True)
class Sent:
    """One request, and what is malformed about it."""

    fault: str
    path: str
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def malformed(operation: Operation) -> Iterator[Sent]:
    """Yield malformed requests for one operation."""
    signature = Signature.of(operation)
    path = operation.path
    for name in signature.path.model_fields if signature.path else ():
        for text in ("%00", "%ff", "x" * 5000, "..%2f..", "-1"):
            yield Sent(f"{name} is {text[:10]}", operation.path.replace(f"{{{name}}}", text))
        path = path.replace(f"{{{name}}}", "0198c0de-4b20-7c31-9000-a7d8e9f01234")
    if operation.method in ("GET", "DELETE"):
        for fault, query in forms():
            if len(query) < QUERY_CHARACTERS_MAX:
                yield Sent(f"query: {fault}", f"{path}?{query}")
    elif operation.body_type is not None:
        for fault, text in forms():
            yield Sent(fault, path, text.encode(), {"Content-Type": FORM})
        yield from raw(path, FORM)
    else:
        names = [*signature.body.model_fields] if signature.body else ["x"]
        for value in HOSTILE_JSON:
            body = "{" + ",".join(f"{json.dumps(name)}: {value}" for name in names) + "}"
            yield Sent(f"every field {value[:20]}", path, body.encode(), {"Content-Type": JSON})
        repeated = "{" + ",".join(f"{json.dumps(name)}: 1" for name in names * 2) + "}"
        yield Sent("repeated members", path, repeated.encode(), {"Content-Type": JSON})
        large = json.dumps(dict.fromkeys(names, MEGABYTE)).encode()
        yield Sent("large fields", path, large, {"Content-Type": JSON})
        yield from raw(path, JSON)


def forms() -> Iterator[tuple[str, str]]:
    for fault, text in HOSTILE_TEXTS.items():
        yield fault, "&".join(f"{name}={text}" for name in FIELDS)
    yield "repeated fields", urlencode([(name, "1") for name in FIELDS] * 2)
    yield "101 fields", urlencode([(f"f{number}", "1") for number in range(101)])
    yield "50 kB", "token=" + "x" * 50_000
    yield "no pairs", "&&==&%&;"


def raw(path: str, kind: str) -> Iterator[Sent]:
    """Yield bodies that do not match their media type, and bodies of other media types."""
    bodies = {
        "nothing": b"",
        "no text": b"\xff\xfe\x00\x80",
        "nul": b"\x00",
        "a megabyte": b"name=" + MEGABYTE.encode(),
        "deep": DEEP.encode(),
        "a number": b"9" * 5000,
        "a string": b'"x"',
    }
    for fault, body in bodies.items():
        yield Sent(fault, path, body, {"Content-Type": kind})
    for other in (
        "",
        "text/plain",
        "multipart/form-data; boundary=x",
        FORM if kind == JSON else JSON,
        "nonsense",
    ):
        yield Sent(f"type {other}", path, b'{"name": "x"}', {"Content-Type": other})


@pytest.fixture
async def auth(
    make_auth_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """Auth without limits of attempts, which would hide what comes after them."""
    monkeypatch.setattr(Pace, "wait", lambda *_: 0)
    monkeypatch.setattr("services.auth.credentials.throttle.Attempt.count", lambda *_: None)
    async with running(create_app, make_auth_settings(), raise_app_exceptions=False) as client:
        yield client


@pytest.mark.prove
@pytest.mark.parametrize("who", ["nobody", "signed in"])
async def test_malformed_input_gets_a_refusal_at_every_operation(auth: httpx.AsyncClient, who: str) -> None:
    client = await create_client(auth, redirect_uris=[REDIRECT])
    faults = []
    for operation in OPERATIONS:
        headers = await headers_for(auth, operation, client, who)
        for sent in malformed(operation):
            if who == "nobody":
                auth.cookies.clear()
            response = await auth.request(
                operation.method, sent.path, content=sent.content, headers=headers | sent.headers
            )
            faults += [
                f"{operation.method} {operation.path}: {sent.fault}: {one}"
                for one in wrong(operation, response)
            ]
    assert faults == []


async def headers_for(
    auth: httpx.AsyncClient, operation: Operation, client: dict[str, Any], who: str
) -> dict[str, str]:
    """Return the headers with which the operation gets past the check of the caller."""
    if operation.access is internal:
        return bearer(internal_token("auth"))
    if operation.path in RFC_ERRORS:
        return basic(client)
    if who == "nobody":
        return OURS
    auth.cookies.clear()
    # By the address, because the forms change the username.
    await sign_in(auth, ADMIN, "admin123")
    # Pages know the browser by its cookie; a bearer token would be a second sign-in.
    return (
        OURS if operation.body_type else OURS | bearer((await login(auth, ADMIN, "admin123")).json()["token"])
    )


def wrong(operation: Operation, response: httpx.Response) -> list[str]:
    """List what is wrong with a response to malformed input."""
    found = []
    if response.status_code >= 500:
        found.append(f"{response.status_code} {response.text[:200]}")
    location = response.headers.get("location", "")
    if urlsplit(location).netloc not in ("", urlsplit(ISSUER).netloc, urlsplit(REDIRECT).netloc):
        found.append(f"leads to {location[:200]}")
    if "\\" in location or location.startswith("//"):
        found.append(f"leads to {location[:200]}")
    expected = RFC_ERRORS.get(operation.path)
    if expected and response.status_code >= 400 and response.json().get("error") not in expected:
        found.append(f"no error of the RFC: {response.status_code} {response.text[:200]}")
    return found


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "x" * 60_000, "é", "", None, 7, ["a"]])
async def test_malformed_passkey_with_a_good_challenge_is_refused(name: Any, auth: httpx.AsyncClient) -> None:
    device = Authenticator()
    for path in ("/auth/passkeys/sign-in", "/auth/signin/passkey"):
        credential = device.sign(await sign_in_options(auth)) | {"id": name, "rawId": name}
        if path == "/auth/signin/passkey":
            form = {"credential": json.dumps(credential)}
            refused = await auth.post(path, data=form, headers=OURS)
        else:
            body = json.dumps({"credential": credential}).encode()
            refused = await auth.post(path, content=body, headers={"Content-Type": JSON})
        assert refused.status_code in (400, 401, 413, 422), (path, refused.text)


@pytest.mark.parametrize("challenge", ["\ud800", "\0", 7, None, {}, "é"])
async def test_malformed_challenge_of_a_passkey_is_refused(challenge: Any, auth: httpx.AsyncClient) -> None:
    client_data = json.dumps({"type": "webauthn.get", "challenge": challenge}).encode()
    response = {"clientDataJSON": encoded(client_data), "authenticatorData": "", "signature": ""}
    body = {"credential": {"id": "x", "type": "public-key", "response": response}}
    refused = await auth.post("/auth/passkeys/sign-in", json=body)

    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")
