"""`gatehouse token explain`: what a credential is, and who would refuse it and why."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.token_claims import Expected, Finding, about, check, kind_of
from shared.identity.unverified import read_unverified

if TYPE_CHECKING:
    from gateway.settings import Settings
    from shared.caller import Caller
    from shared.peers.client import HttpClient

OK, REFUSED, UNCERTAIN = range(3)
INPUT_BYTES_MAX = 16 * 1024
EXPLAIN = "/internal/credentials/explain"
_EXCHANGED = ("session cookie", "personal access token")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


def token(arguments: argparse.Namespace, settings: "Settings") -> int:
    """Explain why a token is accepted or refused."""
    credential = _credential(arguments)
    if not credential or len(credential) > INPUT_BYTES_MAX or not credential.isascii():
        sys.stderr.write(f"no credential given: one line of at most {INPUT_BYTES_MAX} ASCII characters\n")
        return UNCERTAIN
    with redirect_stdout(sys.stderr):  # warnings of the log, for example about an unreachable service
        findings, is_certain = asyncio.run(_explain(credential, arguments, settings))
    refusals = [one for one in findings if one.refuses]
    if refusals:
        verdict = f"refused by {refusals[0].refuses} ({refusals[0].name})"
    else:
        verdict = "accepted" if is_certain else "uncertain: auth could not be reached"
    _print([*findings, Finding("result", verdict)], as_json=arguments.json)
    if refusals:
        return REFUSED
    return OK if is_certain else UNCERTAIN


def describe(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    words = "Show what a credential is, what it allows, and who would refuse it and why."
    described = commands.add_parser("explain", help=words, description=words)
    described.add_argument(
        "token", nargs="?", help="the credential; leave it out to keep it out of the shell's history"
    )
    described.add_argument(
        "--file", type=Path, help="read the credential from a file (default: standard input)"
    )
    described.add_argument("--method", type=str.upper, choices=METHODS, default="GET", help="default: GET")
    described.add_argument("--path", help="also say what would happen to a request for this path")
    described.add_argument("--json", action="store_true", help="print JSON")


def _credential(arguments: argparse.Namespace) -> str:
    if arguments.token is not None:
        text: str = arguments.token
    elif arguments.file is not None:
        try:
            text = arguments.file.read_text(errors="replace")[: INPUT_BYTES_MAX + 1]
        except OSError as error:
            sys.stderr.write(f"{arguments.file}: cannot be read ({error.strerror})\n")
            return ""
    elif sys.stdin.isatty():
        text = getpass("credential (not shown): ")
    else:
        text = sys.stdin.read(INPUT_BYTES_MAX + 1)
    text = text.strip()
    return text[7:].strip() if text[:7].lower() == "bearer " else text


async def _explain(
    credential: str, arguments: argparse.Namespace, settings: "Settings"
) -> tuple[list[Finding], bool]:
    """Return what is known about the credential, and whether auth could be reached."""
    from shared.peers.client import HttpClient

    client = HttpClient()
    try:
        found = [*_api_key(credential, settings)]
        if found:
            return found, True
        facts, holder, is_certain = await _ask_auth(credential, client, settings)
        own, caller, is_verified = await _own_checks(credential, client, settings)
        request = []
        if arguments.path is not None:
            from gateway.cli.token_request import request_findings

            is_development = settings.environment == "development"
            request = await request_findings(
                settings.routes_file,
                arguments.method,
                arguments.path,
                caller or holder,
                client,
                development=is_development,
            )
        return [*own, *facts, *request], is_certain and is_verified
    finally:
        await client.close()


def _api_key(credential: str, settings: "Settings") -> Iterator[Finding]:
    """Explain an API key. The gateway reads API keys from a file of its own; auth does not know them."""
    from gateway.config.api_keys_file import load
    from gateway.config.routes_file import RoutesFileError
    from gateway.policies.api_keys import KEY

    if KEY.fullmatch(credential.encode()) is None:
        return
    yield Finding("kind", f"API key for the header {settings.api_key_header}")
    if settings.api_keys_file is None:
        yield Finding("key", "the gateway has no API_KEYS_FILE", "gateway: 401 invalid_api_key")
        return
    try:
        caller = load(settings.api_keys_file).caller(credential.encode())
    except RoutesFileError as error:
        yield Finding("key", f"{error}", "gateway: 401 invalid_api_key")
        return
    if caller is None:
        yield Finding("key", "not in the file, or expired", "gateway: 401 invalid_api_key")
    else:
        yield Finding("key", f"of the client {caller.client_id}, role {caller.role}")
        yield Finding("scopes", " ".join(sorted(caller.scopes)) or "none")


async def _ask_auth(
    credential: str, client: "HttpClient", settings: "Settings"
) -> tuple[list[Finding], "Caller | None", bool]:
    """Ask auth who owns the credential, whether it was revoked, and for which caller it is exchanged."""
    from shared.errors import Problem
    from shared.peers.client import InternalTokens

    url = settings.auth_url.rstrip("/")
    headers = {"Authorization": f"Bearer {InternalTokens(settings).issue('auth')}"}
    try:
        answer = await client.request("POST", url + EXPLAIN, body={"credential": credential}, headers=headers)
    except Problem as error:
        return (
            [Finding("auth", f"{url} could not be reached to check the account and revocations: {error}")],
            None,
            False,
        )
    who = "auth" if answer["kind"] == "refresh token" else "gateway"
    refusal = f"{who}: 401 {'invalid_refresh_token' if who == 'auth' else 'invalid_token'}"
    facts = [
        Finding(one["name"], one["words"], refusal if one["is_refused"] else "") for one in answer["facts"]
    ]
    named = [] if answer["kind"] == "token" else [Finding("kind", answer["kind"])]
    return [*named, *facts], _holder(answer), True


def _holder(answer: dict[str, Any]) -> "Caller | None":
    """Return the caller that a cookie or a personal access token is exchanged for."""
    from shared.caller import Caller

    if answer["role"] is None or answer["kind"] not in _EXCHANGED:
        return None
    scopes = answer["scopes"]
    return Caller(
        id=answer["account_id"],
        role=answer["role"],
        username=None,
        email=None,
        session_id=None,
        scopes=frozenset(scopes or ()),
        is_limited=scopes is not None,
        expires=float("inf"),
    )


async def _own_checks(
    credential: str, client: "HttpClient", settings: "Settings"
) -> tuple[list[Finding], "Caller | None", bool]:
    """Run each check that verifiers make on a JWT, and then the real verifier."""
    from shared.errors import InvalidToken, Problem
    from shared.identity.tokens import TokenVerifier

    read = read_unverified(credential, allows_duplicates=True)
    if read is None:
        return [], None, True
    findings = [Finding("kind", kind_of(read)), *about(read)]
    try:
        document = {"keys": []} if settings.jwt_secret else await client.get_json(settings.jwks_url)
        expected = _expected(settings, document)
        findings += check(credential, read, expected, time.time())
        caller = await TokenVerifier(settings, client).verify(credential)
    except InvalidToken:
        if not any(one.refuses for one in findings):
            findings.append(
                Finding("form", "it is not a well-formed token", "gateway and services: 401 invalid_token")
            )
        return findings, None, True
    except Problem as error:
        return [*findings, Finding("keys", f"{settings.jwks_url} could not be read: {error}")], None, False
    return [*findings, Finding("scopes", _scopes(caller))], caller, True


def _expected(settings: "Settings", document: dict[str, Any]) -> Expected:
    import jwt

    keys = {
        key["kid"]: jwt.PyJWK(key, algorithm="RS256") for key in document["keys"] if key.get("kty") == "RSA"
    }
    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
    return Expected(settings.issuers, settings.jwt_audience, secret, keys)


def _scopes(caller: "Caller") -> str:
    if not caller.is_limited:
        return f"everything that the role {caller.role} allows, because a person signed in"
    return " ".join(sorted(caller.scopes)) or "none: no service accepts it"


def _print(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([one._asdict() for one in findings], indent=2) + "\n")
        return
    before = ""
    for one in findings:
        refused = f"  <- refused by {one.refuses}" if one.refuses else ""
        name = "" if one.name == before else one.name
        sys.stdout.write(f"{name:<9} {one.words}{refused}\n")
        before = one.name
