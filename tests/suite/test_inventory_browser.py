"""The first web interface's requests from a page of another origin in Chromium, in demo mode.

The page is our own, in `inventory_page/`; it makes the same requests and reads the same fields.
"""

import csv
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from services.inventory.demo import company
from services.inventory.demo.world import REGION
from tests import support
from tests.shared.test_workbooks import read
from tests.suite.conftest import ROOT, Suite, running_suite
from tests.suite.test_inventory_interface import SECRET, WRONG

pytestmark = [pytest.mark.prove, pytest.mark.long(1.5)]

PACKAGE = "playwright-core@1.65.1"
SCRIPT = Path(__file__).with_name("inventory_browser.cjs")
SECONDS = 420
V1 = "/api/v1"
ACCOUNTS, SERVERS, USERS, SETTINGS = (
    f"{V1}/admin/{name}" for name in ("aws-accounts", "ldap-servers", "users", "settings")
)
LISTS = ("workspaces", "usage", "billing", "cloudtrail")
# Every request of the published interface, and the statuses that this visit gets.
REQUESTS = {
    "POST /auth/login": [401, 200],
    f"GET {V1}/dashboard": [200],
    **{f"GET {V1}/{name}": [200] for name in LISTS},
    **{f"GET {V1}/{name}/export": [200] for name in LISTS},
    f"GET {V1}/workspaces/filters/options": [200],
    f"GET {V1}/sync/history": [200],
    f"POST {V1}/sync/trigger": [202],
    f"GET {SETTINGS}": [200],
    f"PUT {SETTINGS}": [409],
    f"GET {USERS}": [200],
    f"POST {USERS}": [201, 409],
    f"DELETE {USERS}/{{id}}": [200],
    f"GET {ACCOUNTS}": [200],
    f"POST {ACCOUNTS}": [201, 409, 422],
    f"PUT {ACCOUNTS}/{{id}}": [200],
    f"DELETE {ACCOUNTS}/{{id}}": [200],
    f"GET {ACCOUNTS}/{{id}}/test": [400, 200],
    f"POST {ACCOUNTS}/{{id}}/sync": [202],
    f"GET {SERVERS}": [200],
    f"POST {SERVERS}": [201],
    f"PUT {SERVERS}/{{id}}": [200],
    f"DELETE {SERVERS}/{{id}}": [200],
    f"GET {SERVERS}/{{id}}/test": [400],
    f"POST {SERVERS}/{{id}}/sync": [202],
}
SERVER = {
    "name": "nowhere",
    "serverUrl": "ldaps://192.0.2.1",
    "baseDn": "dc=example,dc=com",
    "bindUsername": "cn=reader,dc=example,dc=com",
    "bindPassword": SECRET,
    "searchFilter": "(sAMAccountName={username})",
}
USER = {"username": "helper", "email": "helper@example.com", "password": "correct horse", "role": "USER"}


@contextmanager
def suite_for_page(folder: Path, port: int) -> Iterator[Suite]:
    """Run the demo with CORS for the page's origin, as an operator configures it."""
    file = folder / "routes.yaml"
    cors = f'cors: {{origins: ["http://localhost:{port}"]}}\n\n'
    file.write_text(cors + (ROOT / "routes.yaml").read_text())
    settings = {"INVENTORY_DEMO": "on", "ROUTES_FILE": str(file)}
    with running_suite(folder / "data", settings) as suite:
        yield suite


def walk(folder: Path) -> tuple[dict[str, Any], Suite]:
    (chromium,) = support.need("chromium")
    node = support.install_from_npm(folder, PACKAGE)
    script = folder / SCRIPT.name
    script.write_text(SCRIPT.read_text())  # next to the package that it loads
    port, stranger_port = support.free_port(), support.free_port()
    with suite_for_page(folder, port) as suite:
        query = urlencode({"gateway": suite.url})
        given = {
            "chromium": chromium,
            "folder": str(SCRIPT.with_name("inventory_page")),
            "saved": str(folder),
            "gateway": suite.url,
            "port": port,
            "page": f"http://localhost:{port}/?{query}",
            "strangerPort": stranger_port,
            "strangerPage": f"http://localhost:{stranger_port}/?{query}",
            "password": "admin123",
            "alwaysOn": f"{len(people(company.ALWAYS_ON))} rows",
            "account": {**WRONG, "secretAccessKey": SECRET},
            "server": SERVER,
            "user": USER,
        }
        done = subprocess.run(
            [node, str(script)],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen, suite


def people(mode: str) -> set[str]:
    """Return the WorkSpaces that the fake AWS has in this running mode."""
    place = company.build("any").place(company.NUMBER)
    return {
        name for name, row in place.workspaces.items() if row["WorkspaceProperties"]["RunningMode"] == mode
    }


def test_page_signs_in_filters_exports_syncs_and_adds_an_account_with_a_wrong_key(tmp_path: Path) -> None:
    seen, suite = walk(tmp_path)

    assert (seen["faults"], seen["missing"]) == ([], [])
    assert {name: sorted(statuses) for name, statuses in seen["requests"].items()} == {
        name: sorted(statuses) for name, statuses in REQUESTS.items()
    }
    shown, refused, files = seen["shown"], seen["refused"], seen["files"]
    total, active, hours, average = shown["figures"]
    assert (total, shown["recent"], shown["every"]) == ("300", 10, "300 rows")
    assert 0 < int(active) <= 300
    assert round(float(hours) / 300, 1) == pytest.approx(float(average), abs=0.1)
    assert shown["options"].split()[-2:] == [company.ALWAYS_ON, company.AUTO_STOP]
    assert shown["filtered"] == [company.ALWAYS_ON] * 25
    assert shown["admin"] == 5
    _check_files(files)

    assert shown["started"] == "all started"
    assert seen["syncs"][0][0] == "running"
    state, records = seen["syncs"][-1]
    assert (state, int(records) > 300) == ("completed", True)
    counts = [int(records) for _, records in seen["syncs"]]
    assert counts == sorted(counts)

    assert [row[0:5:4] for row in shown["accounts"]] == [
        [company_name(shown["accounts"]), "connected"],
        [WRONG["name"], "error"],
    ]
    assert (shown["working"], shown["accountSync"]) == ("connected", "The sync was started.")
    assert [row[2] for row in shown["users"]] == ["USER", "ADMIN"]
    assert "InvalidClientTokenId" in refused["key"]
    assert "already" in refused["name"]
    assert refused["region"].startswith("region")
    assert "environment" in refused["settings"]
    assert all(len(words) > 10 for words in refused.values()), refused
    assert "Failed to fetch" in refused["origin"]
    assert not any(SECRET in line for line in [*suite.lines, json.dumps(seen)])


def company_name(rows: list[list[str]]) -> str:
    (name,) = [row[0] for row in rows if row[0].startswith("Demo company")]
    return name


def _check_files(files: dict[str, str]) -> None:
    """The files that the browser saved have the rows of the fake AWS."""
    wanted = people(company.ALWAYS_ON)
    header, *lines = csv.reader(Path(files["CSV"]).read_text().splitlines())
    titles, *cells = read(Path(files["Excel"]).read_bytes())
    assert header == titles
    assert {line[header.index("workspace_id")] for line in lines} == wanted
    assert {row[titles.index("workspace_id")] for row in cells} == wanted
    for name in ("usage", "billing"):
        header, first, *_ = csv.reader(Path(files[name]).read_text().splitlines())
        assert first[header.index("workspace_id")].startswith("ws-demo")
    titles, first, *_ = read(Path(files["cloudtrail"]).read_bytes())
    assert first[titles.index("aws_region")] == REGION
