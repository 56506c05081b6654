"""What `gatehouse demo` refuses, and how it reads lists; tests/suite/test_demo.py runs it on a suite."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from gatehouse import cli
from gatehouse.demo.api import Api
from shared.testing import TEST_INTERNAL_SECRET


@pytest.mark.parametrize(
    "open_to_others",
    [
        {"GATEWAY_HOST": "0.0.0.0"},
        {"AUTH_HOST": "0.0.0.0", "AUTH_ADMIN_PASSWORD": "no guess finds this one"},
    ],
)
@pytest.mark.parametrize("option", ["--fill", "--remove"])
def test_suite_that_others_can_reach_is_refused(
    option: str,
    open_to_others: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"DATA_DIR": str(tmp_path), "INTERNAL_SECRET": TEST_INTERNAL_SECRET}.items():
        monkeypatch.setenv(name, value)
    for name, value in open_to_others.items():
        monkeypatch.setenv(name, value)

    assert cli.main(["demo", option]) == 1
    assert "others can reach this suite" in capsys.readouterr().err


def list_server(rows: int) -> ThreadingHTTPServer:
    """A server with one list, at `/things`, that pages as the services do."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = dict(parse_qsl(urlsplit(self.path).query))
            start, limit = int(query.get("cursor", 0)), int(query["limit"])
            content = json.dumps([*range(start, min(start + limit, rows))]).encode()
            self.send_response(200 if query["search"] == "a&b" else 400)
            if start + limit < rows:
                following = urlencode({**query, "cursor": start + limit})
                self.send_header("Link", f'<?{following}>; rel="next"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.mark.parametrize("rows", [0, 100, 250])
def test_all_rows_of_a_list_are_read(rows: int) -> None:
    with list_server(rows) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            found = Api(f"http://127.0.0.1:{server.server_port}").all("/things", search="a&b")
        finally:
            server.shutdown()

    assert found == [*range(rows)]
