"""Every metric of the alerts and dashboards exists in a running suite, as a real Prometheus sees it."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gatehouse import dashboards
from tests import support
from tests.suite.accounts import LAPTOP, PASSWORD, register
from tests.suite.conftest import ROOT, Suite, running_suite

pytestmark = [pytest.mark.prove, pytest.mark.long(1)]

TOKEN = "5f1d7a84e0c9423b8f60a7d219ec3b55"
FOLDER = ROOT / "deploy" / "prometheus"
SECONDS = 120
SELECTOR = re.compile(r"\b(up\b|[a-z]\w*[_:][\w:]*)(?![\w:(])(\{[^}]*\})?")
FAILURES = ',status=~"5.."'  # of which a sound suite has none


@asynccontextmanager
async def prometheus(suite: Suite, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Start a Prometheus that finds the suite as docs/operations.md says."""
    (program,) = support.need("prometheus")
    secret = {"authorization": {"type": "Bearer", "credentials": TOKEN}}
    gateway = suite.url.removeprefix("http://")
    services = {"url": f"{suite.url}/metrics/targets", "refresh_interval": "1s", **secret}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(FOLDER / "rules.yml"), str(FOLDER / "alerts.yml")],
        "scrape_configs": [
            {"job_name": "gateway", "static_configs": [{"targets": [gateway]}], **secret},
            {"job_name": "service", "http_sd_configs": [services]},
        ],
    }
    file, address = folder / "prometheus.yml", f"127.0.0.1:{support.free_port()}"
    file.write_text(yaml.safe_dump(config))
    options = [f"--config.file={file}", f"--storage.tsdb.path={folder}/data", "--log.level=error"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [program, *options, f"--web.listen-address={address}"], stdout=log, stderr=log
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30) as client:
            yield client
    finally:
        server.terminate()
        server.wait(30)


async def data_of(client: httpx.AsyncClient, expression: str) -> list[Any]:
    try:
        answered = await client.get("/api/v1/query", params={"query": expression})
    except httpx.TransportError:  # not started yet
        return []
    assert answered.status_code in (200, 503), f"{expression}: {answered.text}"
    return answered.json()["data"]["result"] if answered.status_code == 200 else []


def selectors() -> Iterator[str]:
    """Yield the metrics of all alerts and rules with their labels."""
    for name in ("rules.yml", "alerts.yml"):
        for group in yaml.safe_load((FOLDER / name).read_text())["groups"]:
            for rule in group["rules"]:
                for metric, labels in SELECTOR.findall(rule["expr"]):
                    yield f"{metric}{labels}".replace(FAILURES, "")


def drawn() -> Iterator[str]:
    """Yield the expressions of all dashboards with every route and service chosen."""
    for _, expression in dashboards.expressions():
        yield expression.replace("$route", ".*").replace("$service", ".*")


async def live(suite: Suite) -> None:
    """Do a little of everything that the dashboards count."""
    async with suite.client() as client:
        person = await register(client)
        assert (await client.post("/orders", json=LAPTOP, headers=person.headers)).status_code == 201
        content = {"file": ("a.txt", b"content")}
        assert (await client.post("/files", files=content, headers=person.headers)).status_code == 201
        ticket = {"subject": "A question", "description": "How do I begin?"}
        assert (await client.post("/tickets", json=ticket, headers=person.headers)).status_code == 201
        wrong = {"email": person.email, "password": "another password"}
        assert (await client.post("/auth/login", json=wrong)).status_code == 401
        right = {"email": person.email, "password": PASSWORD}
        assert (await client.post("/auth/login", json=right)).status_code == 200
        assert (await client.get("/orders")).status_code == 401


async def test_every_metric_and_label_of_alerts_and_dashboards_has_data(tmp_path: Path) -> None:
    settings = {"BACKUP_DIR": str(tmp_path), "METRICS_TOKEN": TOKEN}
    with running_suite(tmp_path / "data", settings) as suite:
        async with prometheus(suite, tmp_path) as client:
            missing = {*drawn(), *selectors()}
            assert len(missing) > 60
            async with asyncio.timeout(SECONDS):
                while missing:
                    await live(suite)
                    missing -= {one for one in missing if await data_of(client, one)}
                    print(json.dumps(sorted(missing), indent=1))
