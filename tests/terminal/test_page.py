"""The page at /terminal/ and its assets."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.support import need
from tests.terminal.support import ROOT, Service

VENDOR = ROOT / "services" / "terminal" / "page" / "vendor"


def test_page_and_all_its_assets_are_public(service: Service) -> None:
    page = httpx.get(f"{service.url}/terminal/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    names = set(re.findall(r"assets/([\w.-]+)", page.text))
    script = httpx.get(f"{service.url}/terminal/assets/page.js").text
    names |= set(re.findall(r'from "\./([\w.-]+)"', script))

    assert names >= {"page.js", "ports.js", "term.js", "xterm.mjs", "xterm.css"}
    for name in names:
        asset = httpx.get(f"{service.url}/terminal/assets/{name}")
        kind = asset.headers["content-type"].partition(";")[0]
        assert (asset.status_code, kind) == (200, "text/css" if name.endswith("css") else "text/javascript")
        etag = {"If-None-Match": asset.headers["etag"]}
        assert httpx.get(f"{service.url}/terminal/assets/{name}", headers=etag).status_code == 304


@pytest.mark.parametrize("name", ["index.html", "PINNED.md", "LICENSE.xterm", "..%2Fapp.py", "app.py", "%00"])
def test_other_files_are_not_served_as_assets(service: Service, name: str) -> None:
    assert httpx.get(f"{service.url}/terminal/assets/{name}").status_code in (404, 422)


def test_vendored_files_match_their_pinned_hashes() -> None:
    pinned = dict(re.findall(r"^\| (\S+) \| @\S+ \S+ \| ([0-9a-f]{64}) \|$", read("PINNED.md"), re.MULTILINE))
    found = {file.name: digest(file) for file in VENDOR.iterdir() if file.name != "PINNED.md"}

    assert len(pinned) == 5
    assert found == pinned


@pytest.mark.prove
def test_page_asks_for_tickets_to_type_only_with_a_token_that_may(tmp_path: Path) -> None:
    (node,) = need("node")
    (tmp_path / "session.mjs").write_text((VENDOR.parent / "session.js").read_text())
    script = tmp_path / "run.mjs"
    script.write_text(Path(__file__).with_name("page_session.mjs").read_text())
    expected: list[tuple[dict[str, object], bool]] = [
        ({}, True),
        ({"scope": "read write"}, True),
        ({"scope": "read write", "client_id": "app"}, True),
        ({"scope": "terminal:read terminal:write", "client_id": "app"}, True),
        ({"scope": "terminal:read", "client_id": "app"}, False),
        ({"act": {"sub": "admin"}}, False),
    ]
    words = [node, str(script), json.dumps([claims for claims, _ in expected])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)

    assert json.loads(done.stdout) == [wanted for _, wanted in expected]


def read(name: str) -> str:
    return (VENDOR / name).read_text()


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
