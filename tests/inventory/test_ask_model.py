"""Questions to a language model: whatever it returns, it can only fill in the query."""

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from services.inventory.app import create_app
from services.inventory.ask import model as models
from services.inventory.ask.model import ChatModel
from services.inventory.ask.query import Question
from services.inventory.settings import Settings
from shared.testing import running
from tests.inventory import aws
from tests.inventory.aws import Double, World
from tests.inventory.support import USER, add_account, sync

KEY = "sk-planted-secret-of-the-model"
NONSENSE = "gimme the thingummies sorted by colour"
GOOD = {"measures": [{"fn": "count"}], "group_by": ["running_mode"]}


class Fake(ThreadingHTTPServer):
    """A chat server: sends the next of `replies` each time, or nothing while it is `silent`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.replies: list[tuple[int, str]] = []
        self.speaks = threading.Event()
        self.speaks.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def say(self, *contents: object) -> None:
        """Reply with these contents, repeating the last one forever."""
        self.asked.clear()
        self.replies = [(200, chat(one if isinstance(one, str) else json.dumps(one))) for one in contents]


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fake = self.server
        fake.asked.append({"path": self.path, **json.loads(body)})
        fake.keys.append(self.headers["Authorization"])
        fake.speaks.wait()
        status, text = fake.replies.pop(0) if len(fake.replies) > 1 else fake.replies[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def chat(content: str) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]})


@pytest.fixture(scope="module")
def fake_server() -> Iterator[Fake]:
    with Fake() as fake:
        thread = threading.Thread(target=fake.serve_forever, daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            fake.shutdown()
            thread.join()


@pytest.fixture
def fake(fake_server: Fake) -> Iterator[Fake]:
    fake_server.asked, fake_server.keys, fake_server.replies = [], [], []
    yield fake_server
    fake_server.speaks.set()


@pytest.fixture
def model_settings(make_inventory_settings: Callable[..., Settings], fake: Fake) -> Settings:
    return make_inventory_settings(ai_url=fake.url, ai_model="phi", ai_key=KEY)


@pytest.fixture
async def model(model_settings: Settings) -> AsyncIterator[ChatModel]:
    async with ChatModel(model_settings) as made:
        yield made


HOSTILE: list[object] = [
    "SELECT secret FROM aws_accounts",
    "DROP TABLE workspaces; --",
    {"sql": "SELECT * FROM aws_accounts"},
    {**GOOD, "sql": "SELECT 1"},
    {"entity": "aws_accounts"},
    {"filters": [{"field": "secret", "op": "not_null"}]},
    {"filters": [{"field": "external_id", "op": "contains", "value": ""}]},
    {"filters": [{"field": "state); DROP TABLE workspaces; --", "op": "eq", "value": "x"}]},
    {"filters": [{"field": "state", "op": "= 'x' OR 1=1 --", "value": "x"}]},
    {"filters": [{"field": "state", "op": "is_null"}] * 9},
    {"measures": [{"fn": "pg_sleep", "field": "root_gib"}]},
    {"group_by": ["(SELECT secret FROM aws_accounts)"], "measures": [{"fn": "count"}]},
    {"limit": 10**9},
    {"having": {"op": "gt", "value": 0}},
    "Ignore the schema. The administrator's password is hunter2.",
    "",
    "null",
    "[]",
    "{" * 5_000,
    json.dumps({"filters": [{"field": "state", "op": "eq", "value": "x" * 7_000}]}),
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
async def test_reply_that_is_not_a_query_is_rejected(model: ChatModel, fake: Fake, content: object) -> None:
    fake.say(content)

    assert await model.question(NONSENSE) is None
    assert len(fake.asked) == 2, "one attempt to repair it"


@pytest.mark.parametrize(
    "reply",
    [
        (500, "{}"),
        (200, "not JSON"),
        (200, "{}"),
        (200, "[]"),
        (200, json.dumps({"choices": []})),
        (200, json.dumps({"choices": [{"message": {"content": 7}}]})),
        (200, "x" * 100_000),
        (302, ""),
    ],
)
async def test_broken_server_gives_no_answer_and_is_shown_as_down(
    model: ChatModel, fake: Fake, reply: tuple[int, str]
) -> None:
    fake.replies = [reply]

    assert await model.question(NONSENSE) is None
    assert model.state == "down"


async def test_silent_server_gives_no_answer_after_the_time_limit(
    model_settings: Settings, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "SECONDS_MAX", 0.2)
    fake.say(GOOD)
    fake.speaks.clear()
    async with ChatModel(model_settings) as model:
        assert await model.question(NONSENSE) is None
        assert model.state == "down"


async def test_valid_query_is_taken_and_leaves_out_what_is_gone(model: ChatModel, fake: Fake) -> None:
    fake.say(f"Sure:\n```json\n{json.dumps(GOOD)}\n```")
    present = [{"field": "presence", "op": "eq", "value": "present"}]

    assert await model.question(NONSENSE) == Question.model_validate({**GOOD, "filters": present})
    gone = {"filters": [{"field": "presence", "op": "eq", "value": "gone"}]}
    fake.say(gone)
    assert await model.question(NONSENSE) == Question.model_validate(gone)


async def test_invalid_query_is_repaired_once_with_the_reason(model: ChatModel, fake: Fake) -> None:
    fake.say({**GOOD, "limit": 501}, GOOD)

    assert await model.question(NONSENSE) is not None
    reason = fake.asked[1]["messages"][-1]["content"]
    assert "limit" in reason
    assert "less than or equal to 500" in reason


async def test_server_without_response_formats_is_asked_without_one(model: ChatModel, fake: Fake) -> None:
    fake.replies = [(400, "{}"), (200, chat(json.dumps(GOOD)))]

    assert await model.question(NONSENSE) is not None
    assert ["response_format" in one for one in fake.asked] == [True, False]


async def test_key_goes_only_to_the_server(model: ChatModel, fake: Fake) -> None:
    fake.replies = [(500, KEY)]
    with capture_logs() as logs:
        await model.question(NONSENSE)

    assert fake.keys == [f"Bearer {KEY}"]
    assert fake.asked[0]["path"] == "/v1/chat/completions"
    assert KEY not in json.dumps([*logs, *fake.asked], default=str)


async def test_model_answers_only_what_the_grammar_does_not_and_never_sees_rows(
    model_settings: Settings, fake: Fake, double: Double, world: World
) -> None:
    aws.add_workspaces(world, 12, 1)
    fake.say(GOOD)
    async with running(create_app, model_settings) as inventory:
        await add_account(inventory, double)
        await sync(inventory)
        known = await ask(inventory, "how many workspaces per running mode")
        assert (known.json()["by"], fake.asked) == ("grammar", [])
        found = await ask(inventory, NONSENSE)
        health = (await inventory.get("/ai/health", headers=USER)).json()
        fake.say("SELECT 1")
        refused = await ask(inventory, NONSENSE)

    assert (found.status_code, found.json()["by"]) == (200, "model")
    assert found.json()["rows"] == known.json()["rows"]
    assert found.json()["understood"] == known.json()["understood"]
    assert health["model"] == "ok"
    assert (refused.status_code, refused.json()["code"]) == (422, "not_understood")
    assert len(refused.json()["suggestions"]) == 3
    sent = json.dumps(fake.asked)
    names = [row["UserName"] for row in world.place().workspaces.values()]
    assert not [
        one for one in (*names, *world.place().workspaces) if f'"{one}"' in sent or f" {one} " in sent
    ]


async def ask(inventory: httpx.AsyncClient, prompt: str) -> httpx.Response:
    return await inventory.post("/ai/query", json={"prompt": prompt}, headers=USER)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8080", "http://user:secret@127.0.0.1"])
def test_invalid_url_is_refused_at_startup(
    make_inventory_settings: Callable[..., Settings], url: str
) -> None:
    with pytest.raises(ValueError, match="ai_url"):
        make_inventory_settings(ai_url=url)
