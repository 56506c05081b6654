"""Handlers for deployments: GitHub's webhook, and the list for admins."""

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.terminal.deployments import Deployments, check_signature, read_run
from services.terminal.models import DEPLOYMENTS
from services.terminal.schemas import DeploymentOut
from services.terminal.settings import Settings
from shared.errors import NotFound
from shared.http.inputs import read_body
from shared.http.schemas import Page
from shared.http.trail import Trail
from shared.lists.pagination import PageQuery, paginate_equal

BODY_BYTES_MAX = 1024 * 1024


async def receive_webhook(
    request: Request, deployments: Deployments, settings: Settings, trail: Trail
) -> Response:
    """Start a deployment after a successful workflow run on the branch to deploy.

    Other events get a 204. Without GITHUB_WEBHOOK_SECRET this path does not exist.
    """
    secret = settings.github_webhook_secret.get_secret_value()
    if not secret:
        raise NotFound
    body = await read_body(request, BODY_BYTES_MAX)
    check_signature(secret, body, request.headers.get("x-hub-signature-256"))
    run = read_run(body, settings.deploy_branch)
    deployment = await deployments.accept(request.headers.get("x-github-delivery"), run)
    if deployment is None:
        return Response(status_code=204)
    trail.resource = deployment
    return JSONResponse({"message": "Deployment started", "deployment": deployment})


def list_deployments(query: PageQuery, session: Session) -> Page[DeploymentOut]:
    """List the deployments, newest first, with the end of their output."""
    return paginate_equal(session, DEPLOYMENTS, {}, query, DeploymentOut.of)
