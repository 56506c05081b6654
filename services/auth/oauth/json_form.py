"""The token endpoint for clients that send JSON: the same grants, with refusals as problems."""

from sqlmodel import Session
from starlette.requests import Request

from services.auth.errors import InvalidClient, NoIssuer, TokenRefused
from services.auth.oauth.errors import OAuthError
from services.auth.oauth.parameters import ClientCredentials, Parameters
from services.auth.oauth.schemas import AskForToken, TokenOut
from services.auth.oauth.server import OAuthServer
from services.auth.oauth.tokens_endpoint import Body
from shared.data.database import Database
from shared.events import Trail


async def issue_token_for_json(
    body: AskForToken, request: Request, database: Database, server: OAuthServer, trail: Trail
) -> TokenOut:
    """Issue tokens like POST /oauth/token, for a JSON body instead of a form."""
    if not server.issuer.url:
        raise NoIssuer
    fields = body.model_dump()
    given = Parameters({name: value for name, value in fields.items() if value})
    trail.add(grant_type=body.grant_type[:50])
    try:
        credentials = ClientCredentials.read(request.headers.get("authorization"), given)
        trail.resource = credentials.recordable_id
        run = database.run_together if server.tokens.is_frequent(given) else database.run
        answer = await run(_issue, server, credentials, given, trail)
    except OAuthError as error:
        answer = error
    if not isinstance(answer, OAuthError):
        return TokenOut(**answer)
    trail.add(reason=answer.code, description=answer.description)
    if answer.status == InvalidClient.status:
        raise InvalidClient(answer.description)
    await trail.keep(refused_with=answer.status)
    raise TokenRefused(answer.code, answer.description)


def _issue(
    session: Session, server: OAuthServer, credentials: ClientCredentials, given: Parameters, trail: Trail
) -> Body | OAuthError:
    answer = server.tokens.issue(server.storage(session), credentials, given)
    if not isinstance(answer, OAuthError):
        trail.write(session)
    return answer
