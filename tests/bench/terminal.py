"""`python -m tests.bench.terminal`: keystroke to echo, compared with ttyd and a terminal without a network.

Every path takes one key in turn. Compare the differences to the plain terminal, not the absolute numbers. The
program ttyd is taken from PATH, or from the variable TTYD; without it that line is missing.
"""

import json
import statistics
import sys
import tempfile
import urllib.request
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from tests.bench.processes import Server, Suite, stopping
from tests.terminal import echo
from tests.terminal.echo import OurTerminal, PlainTerminal, Ttyd, measured_round, ttyd_program

ROUNDS = 16
PLAIN = "plain terminal"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gatehouse-bench-") as name, ExitStack() as stack:
        backend = Server("tests.bench.backend", Path(name))
        stack.enter_context(stopping(backend))
        suite = Suite(Path(name), backend.url(""))
        stack.enter_context(stopping(suite))
        paths = _paths(suite, stack)
        seconds: dict[str, list[float]] = {one: [] for one in paths}
        for _ in range(ROUNDS):
            for one, found in measured_round(paths).items():
                seconds[one] += found
    _print(seconds)


def _paths(suite: Suite, stack: ExitStack) -> dict[str, echo.Path]:
    account = {"email": "bench@example.com", "password": "correct horse"}
    token = _send(suite.url("auth", "/auth/register"), account)["token"]
    sessions = [_send(suite.url("terminal", "/terminal/sessions"), {"tab": tab}, token)["id"] for tab in "ab"]
    direct, through = (
        stack.enter_context(closing(OurTerminal(suite.ports[name], session, token)))
        for name, session in zip(("terminal", "gateway"), sessions, strict=True)
    )
    paths: dict[str, echo.Path] = {PLAIN: stack.enter_context(closing(PlainTerminal()))}
    program = ttyd_program()
    if program is None:
        sys.stderr.write("ttyd is not installed; its line is missing\n")
    else:
        paths["ttyd"] = stack.enter_context(Ttyd.started(program))
    return {**paths, "terminal service": direct, "through the gateway": through}


def _print(seconds: dict[str, list[float]]) -> None:
    plain = statistics.median(seconds[PLAIN])
    print(f"\nkeystroke to echo, {len(seconds[PLAIN])} keys each, in ms\n")
    print(f"{'':<24}{'p50':>8}{'p95':>8}{'p50 more than plain':>22}")
    for name, found in seconds.items():
        p50, p95 = statistics.median(found), statistics.quantiles(found, n=20)[18]
        print(f"{name:<24}{p50 * 1000:>8.3f}{p95 * 1000:>8.3f}{(p50 - plain) * 1000:>22.3f}")


def _send(url: str, body: dict[str, Any], token: str | None = None) -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


if __name__ == "__main__":
    main()
