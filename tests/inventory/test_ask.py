"""Questions in English: all declared phrasings are answered correctly, and all others are refused."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import insert

from services.inventory.ask import asking, running
from services.inventory.ask.grammar import understand
from services.inventory.ask.lexicon import Lexicon, Live
from services.inventory.ask.query import Question
from services.inventory.ask.schemas import AskQuestion
from services.inventory.ask.words import said
from services.inventory.dated import dated_id, first_day, midnight, month_before, month_of
from services.inventory.errors import QuestionNotUnderstood
from services.inventory.exact import split
from services.inventory.handlers.ask import shown
from services.inventory.models import COSTS, EVENTS, USAGE_MONTHS
from shared.clock import now
from shared.data.database import Database
from shared.ids import new_id
from tests.inventory import aws
from tests.inventory.aws import Double, World
from tests.inventory.phrases import COST_PHRASES, PHRASES, UNANSWERABLE, phrasings
from tests.inventory.support import ADMIN, USER, add_account, change, listed, sync
from tests.told import records

LAST_MONTH = month_before(month_of(now().date()))
COST: dict[str, Any] = {"entity": "costs", "measures": [{"fn": "sum", "field": "cost"}]}
DECLARED = [(check, phrase) for check, text in PHRASES for phrase in phrasings(text)]


Answers = Callable[[str], dict[str, Any] | None]  # None if a question is not understood


async def ask(inventory: httpx.AsyncClient, prompt: str) -> httpx.Response:
    return await inventory.post("/ai/query", json={"prompt": prompt}, headers=USER)


@pytest.fixture
def answers(database_url: str) -> Iterator[Answers]:
    """Answer questions like the endpoint, but without a request for each of hundreds."""
    database = Database(database_url, pool_size=1)

    def answered(prompt: str) -> dict[str, Any] | None:
        try:
            asked = AskQuestion(prompt=prompt)
            with database.transaction(write=False) as session:
                answer = asking.ask(session, asked.prompt)
        except (ValidationError, QuestionNotUnderstood):
            return None
        return shown(answer, "grammar").model_dump(mode="json")

    with closing(database):
        yield answered


@pytest.fixture
async def rows(
    inventory: httpx.AsyncClient, double: Double, world: World, seed: int, database_url: str
) -> list[dict[str, Any]]:
    """WorkSpaces of two regions: some connected, users with several, and two that are gone."""
    aws.add_workspaces(world, 40, seed)
    aws.add_workspaces(world, 25, seed + 1, region="us-east-1")
    place = world.place()
    for key in sorted(place.workspaces)[::9]:
        place.connections[key]["ConnectionState"] = "CONNECTED"
    place.workspaces[min(place.workspaces)]["State"] = "UNHEALTHY"
    await add_account(inventory, double, regions=["eu-central-1", "us-east-1"])
    await sync(inventory, kind="directories")
    await sync(inventory, kind="workspaces")
    for key in sorted(place.workspaces)[-2:]:
        del place.workspaces[key]
    await sync(inventory, kind="workspaces")
    change(database_url, insert(USAGE_MONTHS), usage_of([*place.workspaces], seed))
    path = f"/usage?limit=200&month_from={LAST_MONTH}&month_to={LAST_MONTH}"
    used = (await inventory.get(path, headers=USER)).json()
    hours = {one["workspace_id"]: float(one["hours"]) for one in used}
    return [{**row, "hours_last_month": hours.get(row["workspace_id"])} for row in await listed(inventory)]


def usage_of(workspaces: list[str], seed: int) -> list[dict[str, Any]]:
    """Return hours of last month for most of the WorkSpaces, with decimal places."""
    chance = random.Random(seed)
    return [
        {
            "id": dated_id(midnight(first_day(LAST_MONTH)), [key]),
            "workspace_id": key,
            "account": new_id(),
            "month": LAST_MONTH,
            "source": "bill",
            "hours": chance.randrange(0, 200_000_000, 250_000),
            "updated": now(),
        }
        for key in workspaces[5:]
    ]


def costs_of(workspaces: list[str], seed: int) -> list[dict[str, Any]]:
    """Return costs of three months, some of no WorkSpace, with as many decimal places as AWS gives."""
    chance, account, found = random.Random(seed), new_id(), []
    for number in range(300):
        day = now().date() - timedelta(days=chance.randrange(75))
        whole, part = split(f"{chance.uniform(-5, 900):.10f}")
        found.append(
            {
                "id": dated_id(midnight(day), [str(number)]),
                "account": account,
                "day": day.isoformat(),
                "workspace_id": chance.choice([*workspaces, "", ""]),
                "service": "Amazon WorkSpaces",
                "usage_type": chance.choice(["EUC1-AutoStop-Usage", "EUC1-Monthly"]),
                "region": "",
                "amount_whole": whole,
                "amount_part": part,
                "quantity_whole": 1,
                "quantity_part": 0,
                "unit": "Hrs",
                "currency": "USD",
                "estimated": False,
                "pulled": now(),
            }
        )
    return found


async def listed_costs(inventory: httpx.AsyncClient, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the list of costs, each with its WorkSpace as it is now; None for costs without one."""
    found, path = [], "/billing?limit=200"
    while path:
        page = await inventory.get(path, headers=USER)
        found += page.json()
        path = f"/billing{page.links['next']['url']}" if "next" in page.links else ""
    known = {row["workspace_id"]: row for row in rows}
    today = now().date().isoformat()
    for one in found:
        row = known.get(one["workspace_id"], {})
        one["of"] = row.get("workspace_id")
        one |= {name: row.get(name) for name in ("user_name", "region", "running_mode")}
        one["tag:team"] = (row.get("tags") or {}).get("team")
        one["month"] = one["day"][:7]
        one["is_this_month"] = one["month"] == today[:7]
        one["is_last_month"] = one["month"] == LAST_MONTH
        one["is_this_year"] = one["day"][:4] == today[:4]
    return found


@pytest.mark.parametrize("seed", [3])
async def test_declared_questions_about_costs_are_answered_to_the_cent(
    inventory: httpx.AsyncClient,
    rows: list[dict[str, Any]],
    seed: int,
    database_url: str,
    answers: Answers,
) -> None:
    change(database_url, insert(COSTS), costs_of([row["workspace_id"] for row in rows], seed))
    costs = await listed_costs(inventory, rows)
    assert len(costs) == 300
    wrong = []
    for check, text in COST_PHRASES:
        for phrase in phrasings(text):
            answer = answers(phrase)
            if answer is None:
                wrong.append(f"{phrase}: not understood")
            elif sorted(answer["rows"], key=str) != (expected := check(costs)):
                wrong.append(f"{phrase}: {answer['understood']}: {answer['rows']} instead of {expected}")
    assert wrong == []
    total = (await ask(inventory, "total cost last month")).json()
    assert total["answer"].endswith(" USD.")
    assert total["understood"] == "Sum of costs, where the time is last month, at most 100"
    again = await inventory.post("/ai/run", json={"query": total["query"]}, headers=USER)
    assert again.json()["rows"] == total["rows"]


async def test_empty_inventory_has_no_costs(inventory: httpx.AsyncClient) -> None:
    assert (await ask(inventory, "total cost last month")).json()["answer"] == "No costs."


def test_150_phrasings_and_50_unanswerable_questions_are_declared() -> None:
    assert len({phrase for _, phrase in DECLARED}) >= 150
    assert len(phrasings(UNANSWERABLE)) >= 50


@pytest.mark.parametrize("seed", [3, 5, 8])
async def test_declared_phrasings_are_answered_correctly_and_unanswerable_ones_refused(
    inventory: httpx.AsyncClient, rows: list[dict[str, Any]], answers: Answers
) -> None:
    gone = await listed(inventory, "gone=true")
    assert len(gone) == 2
    wrong = []
    for check, phrase in DECLARED:
        answer = answers(phrase)
        if answer is None:
            wrong.append(f"{phrase}: not understood")
            continue
        wants_gone = '"value": "gone"' in json.dumps(answer["query"])
        expected = check(gone if wants_gone else rows)
        found = answer["rows"]
        same = {row[0] for row in found} if isinstance(expected, set) else sorted(found, key=str)
        if same != expected or answer["truncated"] or answer["total"] != len(found):
            wrong.append(f"{phrase}: {answer['understood']}: {same} instead of {expected}")
    assert wrong == []

    assert [one for one in phrasings(UNANSWERABLE) if answers(one) is not None] == []


@pytest.mark.parametrize("seed", [3])
async def test_query_of_an_answer_can_be_edited_and_run_again(
    inventory: httpx.AsyncClient, rows: list[dict[str, Any]], database_url: str
) -> None:
    first = (await ask(inventory, "stopped workspaces by region")).json()
    query = first["query"]
    assert first["understood"] == "Number of WorkSpaces, where state is STOPPED, by region, at most 100"
    same = await inventory.post("/ai/run", json={"query": query}, headers=USER)
    assert same.json()["rows"] == first["rows"]
    query["filters"][0]["value"] = "AVAILABLE"
    other = (await inventory.post("/ai/run", json={"query": query}, headers=ADMIN)).json()
    assert sum(row[1] for row in other["rows"]) == sum(row["state"] == "AVAILABLE" for row in rows)
    assert (first["by"], other["by"]) == ("grammar", "query")
    kept = [one for one in records(database_url, EVENTS) if one["action"] in ("ASK_QUESTION", "RUN_QUESTION")]
    assert [one["action"] for one in kept] == ["ASK_QUESTION", "RUN_QUESTION", "RUN_QUESTION"]
    assert kept[0]["metadata"] == {"understood": first["understood"], "by": "grammar"}


@pytest.mark.parametrize("seed", [3])
async def test_limit_applies_to_the_rows_but_not_to_the_total(
    inventory: httpx.AsyncClient, rows: list[dict[str, Any]]
) -> None:
    query = {"limit": 2, "filters": [{"field": "presence", "op": "eq", "value": "present"}]}
    answer = (await inventory.post("/ai/run", json={"query": query}, headers=USER)).json()

    assert (len(answer["rows"]), answer["total"], answer["truncated"]) == (2, len(rows), True)


@pytest.mark.parametrize(
    "query",
    [
        {"entity": "aws_accounts"},
        {"sql": "select 1"},
        {"filters": [{"field": "external_id", "op": "eq", "value": "x"}]},
        {"filters": [{"field": "state; drop table workspaces", "op": "eq", "value": "x"}]},
        {"filters": [{"field": "state", "op": "like", "value": "x"}]},
        {"filters": [{"field": "state", "op": "lt", "value": "x"}]},
        {"filters": [{"field": "root_gib", "op": "gt", "value": "80"}]},
        {"filters": [{"field": "root_gib", "op": "gt", "value": True}]},
        {"filters": [{"field": "days_unused", "op": "ge", "value": 10**9}]},
        {"filters": [{"field": "state", "op": "in", "value": "x"}]},
        {"filters": [{"field": "state", "op": "is_null", "value": "x"}]},
        {"filters": [{"field": "tag:", "op": "is_null"}]},
        {"filters": [{"field": "state", "op": "is_null"}] * 9},
        {"measures": [{"fn": "sum", "field": "state"}]},
        {"measures": [{"fn": "pg_sleep", "field": "root_gib"}]},
        {"measures": [{"fn": "count", "field": "state"}]},
        {"group_by": ["state"]},
        {"measures": [{"fn": "count"}], "having": {"op": "gt", "value": 1}},
        {"measures": [{"fn": "count"}], "group_by": ["state", "state"]},
        {"measures": [{"fn": "count"}], "group_by": ["days_unused"]},
        {"entity": "advice"},
        {"entity": "advice", "measures": [{"fn": "sum", "field": "saving_high"}]},
        {"entity": "costs"},
        {"entity": "costs", "measures": [{"fn": "count"}]},
        {"entity": "costs", "measures": [{"fn": "avg", "field": "cost"}]},
        {"measures": [{"fn": "sum", "field": "cost"}]},
        {"filters": [{"field": "cost_month", "op": "eq", "value": "last_month"}]},
        {**COST, "filters": [{"field": "cost_month", "op": "eq", "value": "2026-13"}]},
        {**COST, "filters": [{"field": "cost_month", "op": "eq", "value": "' OR 1=1 --"}]},
        {**COST, "filters": [{"field": "cost", "op": "gt", "value": 1}]},
        {**COST, "group_by": ["region"], "having": {"op": "gt", "value": 1}},
        {"limit": 501},
        {"order": "state"},
    ],
)
def test_invalid_query_is_refused(query: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Question.model_validate(query)


@pytest.mark.parametrize("prompt", ["", "   ", "x" * 501])
async def test_malformed_question_is_refused(inventory: httpx.AsyncClient, prompt: str) -> None:
    response = await ask(inventory, prompt)

    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["prompt"]


async def test_question_not_understood_gets_suggestions_of_similar_ones(
    inventory: httpx.AsyncClient,
) -> None:
    response = await ask(inventory, "Which bananas have not been used in 30 days?")
    told = response.json()

    assert (response.status_code, told["code"], told["words"]) == (422, "not_understood", ["bananas"])
    assert told["suggestions"][0] == "Which WorkSpaces have not been used in 30 days?"


async def test_anonymous_questions_are_rejected_with_401(inventory: httpx.AsyncClient) -> None:
    for method, path in (("POST", "/ai/query"), ("POST", "/ai/run"), ("GET", "/ai/examples")):
        assert (await inventory.request(method, path, json={"prompt": "x"})).status_code == 401


async def test_health_is_shown_and_all_examples_are_understood(inventory: httpx.AsyncClient) -> None:
    health = await inventory.get("/ai/health", headers=USER)
    assert health.json() == {"status": "healthy", "grammar": "ok", "model": "off"}
    for example in (await inventory.get("/ai/examples", headers=USER)).json()["examples"]:
        live = Live(tag_keys=["team"])
        assert said(understand(example, Lexicon(live)))


async def test_days_begin_at_midnight_in_the_zone_of_the_caller_but_months_of_costs_in_utc(
    inventory: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    evening = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)  # the first of April in Berlin
    monkeypatch.setattr(running, "now", lambda: evening)
    today = {"filters": [{"field": "days_known", "op": "le", "value": "today"}]}
    body = {"query": today, "timezone": "Europe/Berlin"}
    answer = (await inventory.post("/ai/run", json=body, headers=USER)).json()
    unknown = await inventory.post("/ai/run", json={**body, "timezone": "Mars/Base"}, headers=USER)
    local = evening.astimezone(ZoneInfo("Europe/Berlin"))

    assert running._moment("today", local) == datetime(2026, 3, 31, 22, tzinfo=UTC)
    assert running._moment("this_month", local) == datetime(2026, 3, 31, 22, tzinfo=UTC)
    assert running._moment("today", evening) == datetime(2026, 3, 31, tzinfo=UTC)
    assert running.months(local) == {"this_month": "2026-03", "last_month": "2026-02"}
    assert answer["understood"].endswith("at most 100, with days of Europe/Berlin")
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "timezone")


async def test_question_that_takes_too_long_is_cancelled(
    inventory: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    if not settings.database_url.startswith("sqlite"):
        pytest.skip("PostgreSQL has its own timeout, in whole milliseconds")
    monkeypatch.setattr(running, "SECONDS_MAX", -1)
    monkeypatch.setattr(running, "STEPS_BETWEEN_LOOKS", 1)
    response = await ask(inventory, "how many workspaces per state")

    assert (response.status_code, response.json()["code"]) == (503, "unavailable")


def test_there_are_always_three_suggestions() -> None:
    assert len(asking.nearest("")) == len(asking.nearest("zzz")) == 3
