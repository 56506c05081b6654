"""The HTTP endpoints that OAuth clients call."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.auth.clients.clients import KnownClient
from services.auth.clients.scopes import OPENID
from services.auth.errors import NoIssuer
from services.auth.oauth.device import PER_NETWORK
from services.auth.oauth.errors import OAuthError, invalid_request
from services.auth.oauth.issuer import Issuer
from services.auth.oauth.metadata import metadata
from services.auth.oauth.parameters import ClientCredentials, Parameters
from services.auth.oauth.server import OAuthServer
from services.auth.oauth.tokens_endpoint import authenticated, introspect, revoke, userinfo
from services.auth.revocations.feed import RevocationFeed
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import InvalidToken, TooLarge, Unauthenticated
from shared.events import Trail
from shared.http.inputs import read_body
from shared.identity.tokens import bearer_token
from shared.identity.unverified import read_unverified
from shared.process.proxies import Proxies

Begun = dict[str, Any] | OAuthError

FORM = "application/x-www-form-urlencoded"
BODY_BYTES_MAX = 64 * 1024
NOT_STORED = {"Cache-Control": "no-store", "Pragma": "no-cache"}


async def show_server_metadata(issuer: Issuer) -> Response:
    """Show the metadata of the OAuth server (RFC 8414)."""
    return _document(issuer)


async def show_openid_configuration(issuer: Issuer) -> Response:
    """Show the metadata of the OpenID provider. There is none with JWT_SECRET, which signs no ID tokens."""
    if not issuer.has_identity:
        raise NoIssuer
    return _document(issuer)


def _document(issuer: Issuer) -> Response:
    if not issuer.url:
        raise NoIssuer
    return JSONResponse(metadata(issuer), headers={"Cache-Control": "public, max-age=300"})


async def issue_token(request: Request, database: Database, server: OAuthServer, trail: Trail) -> Response:
    """Issue tokens for an authorization code, refresh token, device code or the client itself (RFC 6749)."""
    try:
        given = await _form(request, server.issuer)
        credentials = _credentials(request, given, trail)
        trail.add(grant_type=(given.values.get("grant_type") or "")[:50])
        run = database.run_together if server.tokens.is_frequent(given) else database.run
        body = await run(_issue, server, credentials, given, trail)
    except OAuthError as error:
        body = error
    if isinstance(body, OAuthError):
        return await _refused(body, trail)
    return JSONResponse(body, headers=NOT_STORED)


def _issue(
    session: Session, server: OAuthServer, credentials: ClientCredentials, given: Parameters, trail: Trail
) -> dict[str, Any] | OAuthError:
    body = server.tokens.issue(server.storage(session), credentials, given)
    if not isinstance(body, OAuthError):
        trail.write(session)
    return body


async def revoke_token(
    request: Request, database: Database, server: OAuthServer, feed: RevocationFeed, trail: Trail
) -> Response:
    """Revoke one access token of the client, or a refresh token and its whole grant (RFC 7009)."""
    try:
        given = await _form(request, server.issuer)
        credentials, token = _credentials(request, given, trail), given.token()
        caller = await server.caller_of(token)
        await database.run(_revoke, server, credentials, token, caller, trail)
        await feed.catch_up()  # so that this process enforces it before the client gets the response
    except OAuthError as error:
        return await _refused(error, trail)
    return Response(headers=NOT_STORED)


def _revoke(
    session: Session,
    server: OAuthServer,
    credentials: ClientCredentials,
    token: str,
    caller: Caller | None,
    trail: Trail,
) -> None:
    storage = server.storage(session)
    revoked = revoke(storage, authenticated(storage, credentials), token, caller)
    trail.add(revoked=revoked is not None)
    trail.write(session)


async def introspect_token(request: Request, database: Database, server: OAuthServer) -> Response:
    """Show the state and claims of one of the client's tokens (RFC 7662); any other token is inactive."""
    try:
        given = await _form(request, server.issuer)
        credentials, token = _credentials(request, given), given.token()
        _require_secret(credentials)
        is_valid = await server.caller_of(token) is not None
        found = read_unverified(token) if is_valid else None
        claims = None if found is None else found.claims
        state = await database.read(_introspect, server, credentials, token, claims)
    except OAuthError as error:
        return _error(error)
    return JSONResponse(state, headers=NOT_STORED)


def _introspect(
    session: Session,
    server: OAuthServer,
    credentials: ClientCredentials,
    token: str,
    claims: Mapping[str, Any] | None,
) -> dict[str, Any]:
    storage = server.storage(session)
    if claims is not None and "sid" in claims and not storage.is_session_alive(claims["sid"]):
        claims, token = None, ""
    return introspect(storage, server.issuer, authenticated(storage, credentials), token, claims)


async def authorize_device(
    request: Request, database: Database, server: OAuthServer, proxies: Proxies, trail: Trail
) -> Response:
    """Start the sign-in of a device without a browser (RFC 8628)."""
    return await _begin(request, database, server, trail, partial(_authorize_device, proxies, request))


def _authorize_device(
    proxies: Proxies,
    request: Request,
    session: Session,
    server: OAuthServer,
    client: KnownClient,
    given: Parameters,
) -> Begun:
    wait = PER_NETWORK.wait(session, f"device codes for {proxies.network_of(request)}")
    if wait:
        return OAuthError("slow_down", f"Too many requests; wait {wait} seconds.", 429)
    return server.storage(session).devices.begin(server.issuer, client, given)


async def push_authorization_request(
    request: Request, database: Database, server: OAuthServer, trail: Trail
) -> Response:
    """Push an authorization request and get the request_uri to authorize with (RFC 9126)."""
    return await _begin(request, database, server, trail, _push, status=201)


def _push(session: Session, server: OAuthServer, client: KnownClient, given: Parameters) -> Begun:
    return server.authorization.push(server.storage(session), client, given)


async def _begin(
    request: Request,
    database: Database,
    server: OAuthServer,
    trail: Trail,
    work: Callable[[Session, OAuthServer, KnownClient, Parameters], Begun],
    status: int = 200,
) -> Response:
    """Authenticate the client, then run `work` for it."""

    def begin(session: Session) -> Begun:
        client = authenticated(server.storage(session), credentials)
        body = work(session, server, client, given)
        if not isinstance(body, OAuthError):
            trail.write(session)
        return body

    try:
        given = await _form(request, server.issuer)
        credentials = _credentials(request, given, trail)
        body = await database.run(begin)
    except OAuthError as error:
        body = error
    return (
        await _refused(body, trail)
        if isinstance(body, OAuthError)
        else JSONResponse(body, status, NOT_STORED)
    )


async def show_userinfo(request: Request, database: Database, server: OAuthServer) -> Response:
    """Show the person's claims that the scopes of the access token allow."""
    return await _userinfo(bearer_token(request.headers.get("authorization")), database, server)


async def post_userinfo(request: Request, database: Database, server: OAuthServer) -> Response:
    """Show the same claims by POST: token in the Authorization header, or `access_token` in a form."""
    token = bearer_token(request.headers.get("authorization"))
    if token is None:
        try:
            given = await _form(request, server.issuer)
            token = given.get("access_token", 8 * 1024)
        except OAuthError as error:
            return _error(error)
    return await _userinfo(token, database, server)


async def _userinfo(token: str | None, database: Database, server: OAuthServer) -> Response:
    if token is None:
        raise Unauthenticated
    caller = await server.verifier.verify(token)
    if caller.client_id is None or OPENID not in caller.scopes:
        detail = {"error": "insufficient_scope", "error_description": "The token lacks the scope openid."}
        challenge = {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="openid"'}
        return JSONResponse(detail, 403, NOT_STORED | challenge)
    claims = await database.read(_claims, server, caller)
    if claims is None:
        raise InvalidToken
    return JSONResponse(claims, headers=NOT_STORED)


def _claims(session: Session, server: OAuthServer, caller: Caller) -> dict[str, Any] | None:
    storage = server.storage(session)
    account = storage.account(caller.id)
    if account is None or caller.session_id is None or not storage.is_session_alive(caller.session_id):
        return None
    return userinfo(account, caller.scopes)


async def _form(request: Request, issuer: Issuer) -> Parameters:
    if not issuer.url:
        raise NoIssuer
    if (request.headers.get("content-type") or "").partition(";")[0].strip().lower() != FORM:
        raise invalid_request(f"The body must be {FORM}.")
    try:
        body = await read_body(request, BODY_BYTES_MAX)
    except TooLarge as error:
        raise OAuthError("invalid_request", error.detail, error.status) from error
    try:
        return Parameters.read(body.decode("ascii"))
    except UnicodeDecodeError as error:
        raise invalid_request("The form is not ASCII; percent-encode other characters.") from error


def _credentials(request: Request, given: Parameters, trail: Trail | None = None) -> ClientCredentials:
    credentials = ClientCredentials.read(request.headers.get("authorization"), given)
    if trail is not None:
        trail.resource = credentials.recordable_id
    return credentials


def _require_secret(credentials: ClientCredentials) -> None:
    if credentials.secret is None:
        raise OAuthError("invalid_client", "Introspection requires a client with a secret.", 401)


async def _refused(error: OAuthError, trail: Trail) -> Response:
    trail.add(reason=error.code, description=error.description)
    await trail.keep(refused_with=error.status)
    return _error(error)


def _error(error: OAuthError) -> Response:
    challenge = {"WWW-Authenticate": 'Basic realm="gatehouse"'} if error.status == 401 else {}
    return JSONResponse(error.body, error.status, NOT_STORED | challenge)
