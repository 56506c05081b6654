"""GitHub's webhook: signatures, replays, other events, and the deployments that it starts."""

import asyncio
import hashlib
import hmac
import json
import shlex
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from services.terminal import deployments as module
from services.terminal.app import create_app
from services.terminal.deployments import Deployments, read_run
from services.terminal.errors import BadWebhook
from services.terminal.models import DEPLOYMENTS, DeploymentState
from services.terminal.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.data.statements import insert_row
from shared.ids import first_id, new_id
from shared.testing import bearer, running, token

SECRET = "of-the-webhook-in-tests"
SHA = "5f" * 20
SCRIPT = 'echo "sha $GITHUB_SHA of $GITHUB_REPOSITORY; ${JWT_SECRET-no secret}"; exit 0'
ADMIN = bearer(token(role="admin"))


@pytest.fixture
async def client(make_settings: Callable[..., Any], database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = make_settings(
        Settings,
        database_url=database_url,
        box_backend="process",
        github_webhook_secret=SECRET,
        deploy_command=shlex.join(["/bin/sh", "-c", SCRIPT]),
    )
    async with running(create_app, settings) as made:
        yield made


def event(**run: Any) -> bytes:
    ours = {"event": "push", "head_repository": {"full_name": "acme/app"}}
    told = {"id": 1, "conclusion": "success", "head_branch": "main", "head_sha": SHA, **ours, **run}
    return json.dumps(
        {"action": "completed", "workflow_run": told, "repository": {"full_name": "acme/app"}}
    ).encode()


def signed(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def deliver(
    client: httpx.AsyncClient, body: bytes, *, delivery: str | None = None, signature: str | None = None
) -> tuple[int, str]:
    headers = {
        "X-Hub-Signature-256": signed(body) if signature is None else signature,
        "X-GitHub-Delivery": new_id() if delivery is None else delivery,
    }
    response = await client.post("/github-webhook", content=body, headers=headers)
    return response.status_code, (response.json() if response.content else {}).get("code", "")


async def deployments(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await client.get("/terminal/admin/deployments", headers=ADMIN)).json()
    return listed


async def ended(client: httpx.AsyncClient, number: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 30
    while len(rows := [one for one in await deployments(client) if one["ended"]]) < number:
        assert time.monotonic() < deadline, rows
        await asyncio.sleep(0.02)
    return rows


async def test_successful_run_is_deployed_once_with_its_commit_and_without_secrets(
    client: httpx.AsyncClient,
) -> None:
    body, delivery = event(), new_id()
    assert await deliver(client, body, delivery=delivery) == (200, "")
    assert await deliver(client, body, delivery=delivery) == (409, "seen_before")
    assert await deliver(client, body) == (409, "seen_before")  # a replay with another delivery id
    assert await deliver(client, event(id=2)) == (200, "")
    rows = await ended(client, 2)

    assert [one["state"] for one in rows] == ["done", "done"]
    assert rows[0]["output"] == f"sha {SHA} of acme/app; no secret\n"
    assert (await client.get("/terminal/admin/deployments", headers=bearer(token()))).status_code == 403


async def test_unexpected_error_of_a_deployment_does_not_end_later_ones(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy, failures = Deployments._deploy, [ArithmeticError("unexpected")]

    async def failing_once(self: Deployments, row: dict[str, Any]) -> tuple[DeploymentState, str]:
        if failures:
            raise failures.pop()
        return await deploy(self, row)

    monkeypatch.setattr(Deployments, "_deploy", failing_once)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    for number in (1, 2):
        assert await deliver(client, event(id=number)) == (200, "")
    rows = await ended(client, 1)

    assert failures == []
    assert "done" in [one["state"] for one in rows]


async def test_finished_deployments_are_deleted_after_90_days_and_running_ones_are_kept(
    make_settings: Callable[..., Any], database_url: str
) -> None:
    settings = make_settings(Settings, database_url=database_url, box_backend="process")
    upgrade(database_url, settings.migrations())
    database = Database(database_url)
    old, recent = first_id(now() - timedelta(days=91)), first_id(now() - timedelta(days=89))
    kept = [recent[:-1] + "1", *(old[:-1] + str(number) for number in (2, 3))]
    states = dict(zip(kept, ("done", "running", "waiting"), strict=True))
    states |= {old[:-1] + str(number): state for number, state in enumerate(("done", "failed", "lost"), 4)}
    try:
        with database.transaction() as session:
            for number, (id_, state) in enumerate(states.items()):
                what = {"run_id": number, "repository": "acme/app", "branch": "main", "sha": SHA}
                insert_row(session, DEPLOYMENTS, id=id_, state=state, **what)
        Deployments(database, settings).forget_old()
        with database.transaction(write=False) as session:
            left = {row.id for row in session.connection().execute(DEPLOYMENTS.select())}
    finally:
        database.close()

    assert left == set(kept)


async def test_signature_that_is_missing_malformed_or_wrong_starts_nothing(client: httpx.AsyncClient) -> None:
    body = event()
    for signature in ("", "sha1=" + "0" * 40, "sha256=" + "0" * 63, signed(body).upper()):
        assert await deliver(client, body, signature=signature) == (400, "bad_signature")
    for signature in (signed(body, "another-secret-of-tests"), signed(body + b" "), signed(body, "")):
        assert await deliver(client, body, signature=signature) == (403, "wrong_signature")
    assert await deployments(client) == []


async def test_other_events_get_204_and_malformed_ones_400(
    client: httpx.AsyncClient,
) -> None:
    others = [event(head_branch="feature"), event(conclusion="failure"), b'{"zen": "ping"}', b"{}"]
    for body in others:
        assert await deliver(client, body) == (204, "")
    for body in (b"", b"{", b"[]", event(id="x"), event(head_sha="main; rm"), event(id=2**63)):
        assert await deliver(client, body) == (400, "bad_webhook")
    assert await deliver(client, event(), delivery="") == (400, "bad_webhook")
    assert await deliver(client, event(), delivery="x" * 65) == (400, "bad_webhook")
    assert await deliver(client, bytes(10 << 20)) == (413, "body_too_large")
    assert await deployments(client) == []


@pytest.mark.parametrize(
    "run",
    [
        {"event": "pull_request"},
        {"event": "schedule"},
        {"head_repository": {"full_name": "stranger/app"}},
        {"head_repository": None},
    ],
)
def test_run_of_a_pull_request_or_a_fork_is_not_deployed(run: dict[str, Any]) -> None:
    assert read_run(event(), "main") is not None
    assert read_run(event(**run), "main") is None


async def test_without_a_secret_the_webhook_does_not_exist(make_settings: Callable[..., Any]) -> None:
    async with running(create_app, make_settings(Settings, box_backend="process")) as client:
        body = event()
        assert await deliver(client, body, signature=signed(body, "")) == (404, "not_found")


async def test_command_that_fails_hangs_or_does_not_exist_is_reported(
    make_settings: Callable[..., Any],
) -> None:
    commands = {
        "/bin/sh -c 'echo partly; exit 3'": "partly\n",
        "/bin/sh -c 'echo begun; exec sleep 60'": "begun\n\nThe time limit was reached.",
        "/no/such/command": "The command could not be started: No such file or directory",
    }
    for number, (command, output) in enumerate(commands.items()):
        settings = make_settings(
            Settings,
            box_backend="process",
            github_webhook_secret=SECRET,
            deploy_command=command,
            deploy_seconds=1.0,
        )
        async with running(create_app, settings) as client:
            assert await deliver(client, event(id=number + 1)) == (200, "")
            row = (await ended(client, number + 1))[0]
        assert (row["state"], row["output"]) == ("failed", output)


@pytest.mark.parametrize(
    "values",
    [
        {"github_webhook_secret": "short", "deploy_command": "true"},
        {"github_webhook_secret": SECRET},
        {"github_webhook_secret": SECRET, "deploy_command": "unclosed 'quote"},
    ],
)
def test_service_does_not_start_with_a_weak_secret_or_without_a_command(
    make_settings: Callable[..., Any], values: dict[str, str]
) -> None:
    with pytest.raises(ValidationError):
        make_settings(Settings, box_backend="process", **values)


def test_any_event_is_read_as_a_run_ignored_or_refused() -> None:
    assert read_run(event(), "main") is not None
    anything: tuple[Any, ...] = (None, 1, "x", [], {}, True)
    for value in anything:
        for name in ("id", "head_sha"):
            with pytest.raises(BadWebhook):
                read_run(event(**{name: value if (name, value) != ("id", 1) else -1}), "main")
        assert read_run(json.dumps({"action": "completed", "workflow_run": value}).encode(), "main") is None
