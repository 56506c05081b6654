"""`gatehouse logs`: the lines about one request, from several files or containers."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from gatehouse import cli

ID = "0198c0de-0000-7000-8000-000000000001"


def logged(service: str, second: int, event: str, request_id: str = ID, **more: Any) -> str:
    moment = f"2026-11-28T10:00:{second:02}.250000Z"
    fields = {"service": service, "timestamp": moment, "level": "info", "event": event}
    return json.dumps({**fields, "request_id": request_id, **more})


REQUEST: dict[str, Any] = {"method": "POST", "path": "/orders", "status": 201, "ms": 3.5}
GATEWAY = logged("gateway", 9, "request", **REQUEST, route="orders")
ORDERS = logged("orders", 8, "request", **REQUEST)
WRITTEN = logged("orders", 7, "stock_is_low", level="warning", product="a\x1b[2Jb")
OTHER = logged("orders", 6, "request", request_id=f"{ID}-other", **REQUEST)
MENTION = logged("audit", 6, "mentions", request_id="another", text=ID)


@pytest.fixture
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "suite.log"
    monkeypatch.setenv("LOG_FILE", str(file))
    file.write_text(f"{GATEWAY}\n{OTHER}\nnot of ours {ID}\n{MENTION}\n")
    file.with_name("suite.log.1").write_text(f"{ORDERS}\n{WRITTEN}\n")
    return file


def test_lines_of_all_files_are_merged_in_order_of_time(
    log_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["logs", ID]) == 0
    assert capsys.readouterr().out.splitlines() == [
        '10:00:07.250  orders         stock_is_low  warning  product="a\\u001b[2Jb"',
        "10:00:08.250  orders         POST /orders 201 in 3.5 ms",
        "10:00:09.250  gateway        POST /orders 201 in 3.5 ms  route=orders",
    ]
    assert cli.main(["logs", ID, "--json", "--file", str(log_file)]) == 0
    assert capsys.readouterr().out == f"{GATEWAY}\n"


def test_an_unknown_id_and_missing_logs_are_named(
    log_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["logs", "unknown-id"]) == 1
    assert "no line with the request id unknown-id" in capsys.readouterr().err
    assert cli.main(["logs", "two words"]) == 2
    assert cli.main(["logs", ID, "--file", "none.log"]) == 2
    assert "none.log: there is no such file" in capsys.readouterr().err
    monkeypatch.delenv("LOG_FILE")
    monkeypatch.chdir(log_file.parent)
    assert cli.main(["logs", ID]) == 2
    assert "set LOG_FILE" in capsys.readouterr().err


def test_lines_of_containers_and_of_standard_input_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LOG_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "docker-compose.yml").touch()
    assert cli.main(["logs", ID]) == 2  # a checkout in which the suite does not run in containers
    assert "set LOG_FILE" in capsys.readouterr().err
    (tmp_path / ".env").touch()
    program = tmp_path / "docker-compose"
    lines = f"gateway_1  | {GATEWAY}\norders_1   | {ORDERS}\n"
    program.write_text(f"#!/bin/sh\ntest \"$*\" = 'logs --no-color' || exit 1\ncat <<'LINES'\n{lines}LINES\n")
    program.chmod(0o755)
    assert cli.main(["logs", ID, "--json"]) == 0
    assert capsys.readouterr().out == f"{ORDERS}\n{GATEWAY}\n"

    program.write_text("#!/bin/sh\nexit 3\n")
    assert cli.main(["logs", ID]) == 2
    assert "failed with exit code 3" in capsys.readouterr().err

    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{ORDERS}\n"))
    assert cli.main(["logs", ID, "--file", "-"]) == 0
    assert "POST /orders 201" in capsys.readouterr().out


def test_only_a_terminal_gets_colours(
    log_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert cli.main(["logs", ID]) == 0
    assert "\x1b[33morders" in capsys.readouterr().out
