"""Deployments that GitHub starts: a webhook whose runs of DEPLOY_COMMAND are jobs, one at a time.

The signature covers only the body. The id of a delivery can therefore be forged by anyone who has a recorded
body. So a run of GitHub's workflow is deployed only once, whatever the delivery's id.
"""

import asyncio
import hashlib
import hmac
import json
import os
import re
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import structlog
from sqlalchemy import delete, select, update
from sqlmodel import Session

from services.terminal.errors import BadSignature, BadWebhook, SeenBefore, WrongSignature
from services.terminal.models import DELIVERIES, DEPLOYMENTS, DeploymentState
from services.terminal.settings import Settings
from shared.clock import now
from shared.data.database import Database, insert_into
from shared.data.statements import insert_row
from shared.errors import Problem
from shared.ids import first_id
from shared.process.tasks import end

LOG_BYTES_MAX = 16 * 1024  # the end of a deployment's output
READ_BYTES = 64 * 1024
RETRY_SECONDS = 5.0
DEPLOYED_EVENTS = ("push", "workflow_dispatch")
DELIVERIES_KEPT = timedelta(days=7)
DEPLOYMENTS_KEPT = timedelta(days=90)
_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})")
_DELIVERY = re.compile(r"[0-9A-Za-z-]{1,64}")
_REPOSITORY = re.compile(r"[\w.-]{1,100}/[\w.-]{1,100}", re.ASCII)
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """A successful run of a workflow."""

    id: int
    repository: str
    branch: str
    sha: str


def check_signature(secret: str, body: bytes, header: str | None) -> None:
    """Raise BadSignature if the header is malformed, and WrongSignature if it does not match the body."""
    match = _SIGNATURE.fullmatch(header or "")
    if match is None:
        raise BadSignature
    wanted = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, match[1]):
        raise WrongSignature


def read_run(body: bytes, branch: str) -> Run | None:
    """Return the run to deploy; None if the event is about something else."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadWebhook("The body is not JSON.") from error
    if not isinstance(event, dict):
        raise BadWebhook("The body is not an object.")
    run, repository = event.get("workflow_run"), event.get("repository")
    if event.get("action") != "completed" or not isinstance(run, dict):
        return None
    if run.get("conclusion") != "success" or run.get("head_branch") != branch:
        return None
    name = repository.get("full_name") if isinstance(repository, dict) else None
    # A pull request of a fork runs workflows here as well, with a branch of any name and a stranger's commit.
    head = run.get("head_repository")
    is_ours = isinstance(head, dict) and head.get("full_name") == name
    if run.get("event") not in DEPLOYED_EVENTS or not is_ours:
        return None
    id_, sha = run.get("id"), run.get("head_sha")
    if (
        not (type(id_) is int and 0 < id_ < 2**63)
        or not (isinstance(name, str) and _REPOSITORY.fullmatch(name))
        or not (isinstance(sha, str) and _SHA.fullmatch(sha))
    ):
        raise BadWebhook("workflow_run needs id and head_sha, and repository needs full_name.")
    return Run(id_, name, branch, sha)


class Deployments:
    """Accepts runs, and deploys them in the order of their arrival."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._wake = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._database.run(_lose_running)
        self._worker = asyncio.create_task(self._work(), name="deployments")
        self._wake.set()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await end([self._worker])

    async def accept(self, delivery: str | None, run: Run | None) -> str | None:
        """Record a delivery; return the id of a deployment if there is something to deploy."""
        if delivery is None or not _DELIVERY.fullmatch(delivery):
            raise BadWebhook("X-GitHub-Delivery must be the id of the delivery.")
        deployment = await self._database.run(_accept, delivery, run)
        if deployment is not None:
            self._wake.set()
        return deployment

    def forget_old(self) -> None:
        """Delete old deliveries and deployments; called by a duty in its own thread."""
        with self._database.transaction() as session:
            execute, columns = session.connection().execute, DEPLOYMENTS.c
            execute(delete(DELIVERIES).where(DELIVERIES.c.received < now() - DELIVERIES_KEPT))
            ended = columns.state.not_in([DeploymentState.WAITING, DeploymentState.RUNNING])
            execute(delete(DEPLOYMENTS).where(ended, columns.id < first_id(now() - DEPLOYMENTS_KEPT)))

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while (row := await self._database.run(_next)) is not None:
                    state, output = await self._deploy(row)
                    await self._database.run(_finish, row["id"], state, output)
                    log.info("deployment_finished", deployment_id=row["id"], sha=row["sha"], outcome=state)
            except Problem as problem:  # the database is unreachable
                log.warning("deployments_wait", error=problem.code)
                await self._try_again()
            except Exception:  # if this task ended, nothing more would be deployed
                log.exception("deployments_interrupted")
                await self._try_again()

    async def _try_again(self) -> None:
        await asyncio.sleep(RETRY_SECONDS)
        self._wake.set()

    async def _deploy(self, row: dict[str, Any]) -> tuple[DeploymentState, str]:
        """Run the command without a shell, with a time limit, in a process group of its own."""
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "GITHUB_REPOSITORY": row["repository"],
            "GITHUB_REF_NAME": row["branch"],
            "GITHUB_SHA": row["sha"],
        }
        output = bytearray()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._settings.deploy_command,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return DeploymentState.FAILED, f"The command could not be started: {error.strerror}"
        try:
            async with asyncio.timeout(self._settings.deploy_seconds):
                assert process.stdout is not None
                while piece := await process.stdout.read(READ_BYTES):
                    output += piece
                    del output[:-LOG_BYTES_MAX]
                code = await process.wait()
        except TimeoutError:
            output += b"\nThe time limit was reached."
            code = -signal.SIGKILL
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        text = bytes(output[-LOG_BYTES_MAX:]).decode("utf-8", "replace").replace("\0", "\ufffd")
        return DeploymentState.FAILED if code else DeploymentState.DONE, text


def _accept(session: Session, delivery: str, run: Run | None) -> str | None:
    run_once = session.connection().execute
    row = {"id": delivery, "received": now()}
    added = run_once(insert_into(session, DELIVERIES).on_conflict_do_nothing(), row)
    if added.rowcount == 0:
        raise SeenBefore
    if run is None:
        return None
    if run_once(select(DEPLOYMENTS.c.id).where(DEPLOYMENTS.c.run_id == run.id)).first() is not None:
        raise SeenBefore
    values = {"run_id": run.id, "repository": run.repository, "branch": run.branch, "sha": run.sha}
    return str(insert_row(session, DEPLOYMENTS, **values)["id"])


def _next(session: Session) -> dict[str, Any] | None:
    """Return the oldest waiting deployment and mark it as running."""
    waiting = select(DEPLOYMENTS).where(DEPLOYMENTS.c.state == DeploymentState.WAITING)
    row = session.connection().execute(waiting.order_by(DEPLOYMENTS.c.id).limit(1)).one_or_none()
    if row is None:
        return None
    _set_state(session, [row.id], DeploymentState.RUNNING)
    found: dict[str, Any] = row._asdict()
    return found


def _finish(session: Session, deployment_id: str, state: DeploymentState, output: str) -> None:
    change = update(DEPLOYMENTS).where(DEPLOYMENTS.c.id == deployment_id)
    session.connection().execute(change.values(state=state, output=output, ended=now()))


def _lose_running(session: Session) -> None:
    """Mark what an earlier process was running when it died."""
    running = select(DEPLOYMENTS.c.id).where(DEPLOYMENTS.c.state == DeploymentState.RUNNING)
    ids = [row.id for row in session.connection().execute(running)]
    _set_state(session, ids, DeploymentState.LOST, ended=now())


def _set_state(session: Session, ids: Sequence[str], state: DeploymentState, **values: Any) -> None:
    change = update(DEPLOYMENTS).where(DEPLOYMENTS.c.id.in_(ids))
    session.connection().execute(change.values(state=state, **values))
