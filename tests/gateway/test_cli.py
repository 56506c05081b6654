"""`gatehouse routes`: output, exit codes, and agreement of schema and validator."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from gatehouse.cli import main as gatehouse
from gateway import cli
from gateway.config import json_schema, routes_file
from gateway.config.description import differences
from gateway.config.routes_file import examine, parse
from gateway.forwarding.explain import explain
from gateway.routing.table import RouteTable

PROJECT = Path(__file__).parents[2]

FILE = """
defaults: {rate_limit: {rate: 10/s}}
routes:
  - {path: /orders, backend: "http://orders:1", methods: [GET, POST], roles: [admin]}
  - {path: "/orders/{id}/lines", backend: "http://lines:2", name: lines, rewrite: "/lines/{id}", auth: none,
     body_max: 10B}
  - {path: /auth, backend: "http://auth:3"}
  - {path: /reports, backend: "http://reports:5", api_keys: true, claims: {tenant: [a, b]}, scopes: [read],
     concurrency: {max: 3, key: client}, rate_limit: [{rate: 9/s}, {rate: 99/h, key: user+ip, store: local}]}
  - {path: /, backend: "http://admin:4", name: admin, auth: none, hosts: [admin.example]}
cors: {origins: ["https://page.example"]}
aliases:
  - {path: /api/v1, to: /, envelope: v1}
"""


def table() -> RouteTable:
    return parse(FILE, "routes.yaml", development=True)


def told(method: str, url: str, *headers: str) -> dict[str, str]:
    """Return the lines of `explain` by name; lines of the same name are joined."""
    found: dict[str, str] = {}
    for line in explain(table(), method, url, headers):
        found[line.name] = f"{found[line.name]}\n{line.words}" if line.name in found else line.words
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "routes.yaml"
    file.write_text(FILE)
    return file


@pytest.mark.parametrize("program", [["-m", "gateway"], ["-m", "gatehouse"]])
@pytest.mark.parametrize(
    ("text", "code", "out", "err"),
    [
        (FILE, 0, "valid, 6 routes, 1 aliases", ""),
        ("routes: [{path: a, backend: b}]", 1, "", "routes.yaml:1:17 routes[0].path: must be a path"),
        (None, 2, "", "cannot be read"),
    ],
)
def test_check_ends_with_its_exit_code_and_output(
    program: list[str], text: str | None, code: int, out: str, err: str, tmp_path: Path
) -> None:
    file = tmp_path / "routes.yaml"
    if text is not None:
        file.write_text(text)
    ended = subprocess.run(
        [sys.executable, *program, "routes", "check"],
        env=os.environ | {"ROUTES_FILE": str(file)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    assert out in ended.stdout
    assert err in ended.stderr
    assert "Traceback" not in ended.stderr


def test_check_prints_json_for_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(
        "routes:\n  - {path: /a, backend: 'http://a', auth: none, rate_limit: {key: user}}\n  - {}"
    )
    assert gatehouse(["routes", "check", str(file), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["valid"] is False
    found = [(each["severity"], each["line"], each["where"]) for each in report["findings"]]
    assert found == [
        ("warning", 2, "routes[0].rate_limit"),
        ("error", 3, "routes[1]"),
        ("error", 3, "routes[1]"),
    ]
    assert gatehouse(["routes", "check", str(file.with_name("absent")), "--json"]) == 2
    assert "cannot be read" in json.loads(capsys.readouterr().out)["unreadable"]


@pytest.mark.parametrize(
    ("keys", "warning"),
    [
        ("auth: none, rate_limit: {rate: 5/s, key: user}", "counts by address"),
        ("timeout: {connect: 9s, first_byte: 1s}", "longer than `first_byte`"),
        ("cors: {origins: ['*']}", "pages of every origin"),
    ],
)
def test_warnings_do_not_make_a_file_invalid(
    keys: str, warning: str, capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    file.write_text(f"routes: [{{path: /a, backend: 'http://a', {keys}}}]")
    assert gatehouse(["routes", "check", str(file)]) == 0
    told = capsys.readouterr().err
    assert ": warning: " in told
    assert warning in told


def test_requirements_without_effect_are_refused() -> None:
    text = "routes: [{path: /a, backend: 'http://a', auth: none, roles: [admin]}]"
    _, faults = examine(text, "routes.yaml", development=True)
    assert ["has no effect" in line for line in faults.in_order()] == [True]


def test_explain_shows_what_is_sent() -> None:
    lines = told("GET", "http://shop.example:8000/api/v1/orders/7/lines?x=%20", "X-User-Id: 1", "Accept: a/b")
    assert lines["request"] == "GET /api/v1/orders/7/lines?x=%20 at host shop.example"
    assert lines["alias"] == "/api/v1 stands for /: /orders/7/lines, response in the v1 envelope"
    assert lines["route"].startswith("lines: /orders/{id}/lines and below for ")
    assert lines["why"].startswith(
        "more specific (host, then path, then method) than orders (/orders and below"
    )
    assert lines["target"] == "http://lines:2"
    sent = lines["sent"].splitlines()
    assert sent[0] == "GET /lines/7?x=%20 HTTP/1.1"
    assert "host: lines:2" in sent
    assert "accept: a/b" in sent
    assert not any("x-user-id" in line for line in sent)
    assert lines["result"].startswith("forwarded")


@pytest.mark.parametrize(
    ("method", "url", "headers", "result"),
    [
        ("GET", "/orders/../x", [], "400 bad_path"),
        ("GET", "/orders%2F1/", [], "the gateway's own response, or 404"),
        ("GET", "/auth%2Flogin", [], "the gateway's own response"),
        ("GET", "/internal/x", [], "the gateway's own response"),
        ("GET", "/nowhere", [], "the gateway's own response"),
        ("GET", "http://admin.example/nowhere", [], "forwarded"),
        ("DELETE", "/orders", [], "405 method_not_allowed (client, route)"),
        ("GET", "/orders", [], "401 unauthenticated"),
        ("GET", "/orders", ["Authorization: Bearer a.b.c"], "forwarded if the token is valid"),
        ("POST", "/auth/login", [], "forwarded if the limits allow it"),
        ("POST", "/api/v1/auth/login", [], "forwarded if the limits allow it"),
        ("PUT", "/orders/1/lines", ["Content-Length: 11"], "413 body_too_large"),
        (
            "OPTIONS",
            "/orders",
            ["Origin: https://page.example", "Access-Control-Request-Method: GET"],
            "204, a preflight",
        ),
        (
            "OPTIONS",
            "/orders",
            ["Origin: https://evil.example", "Access-Control-Request-Method: GET"],
            "403 origin_denied",
        ),
    ],
)
def test_explain_ends_with_the_result(method: str, url: str, headers: list[str], result: str) -> None:
    assert told(method, url, *headers)["result"].startswith(result)


def test_explain_shows_no_secrets() -> None:
    sent = told("GET", "/orders", "Authorization: Bearer secret", "Cookie: id=secret")["sent"]
    assert "secret" not in sent
    assert "authorization: ***" in sent


def test_explain_shows_access_rules_and_limits() -> None:
    lines = told("GET", "/reports", "X-API-Key: gatehouse_secret")
    assert lines["auth"] == "required\nor an API key"
    assert lines["claims"] == "tenant is a or b"
    assert lines["limits"].startswith(
        "9 requests per 1 s and user, burst 9; 99 requests per 3600 s and user+ip, burst 1; "
        "3 in progress per client; body"
    )
    assert "secret" not in str(lines)
    assert "x-gatehouse-client: <of the key>" in lines["sent"]
    assert lines["result"].startswith("forwarded if the key is valid")
    assert told("GET", "/reports")["result"].startswith("401 unauthenticated")
    assert "or an API key" not in str(told("GET", "/orders"))


def test_diff_lists_changed_limits_and_claims(file: Path) -> None:
    before = parse(FILE, "routes.yaml", development=True)
    changed = FILE.replace("99/h", "77/h").replace("{tenant: [a, b]}", "{tenant: a, level: 3}")
    lines = differences(before, parse(changed, "routes.yaml", development=True))
    assert lines == [
        "~ route reports  claims.level: none → 3",
        "~ route reports  claims.tenant: a, b → a",
        "~ route reports  rate_limit[1].count: 99 → 77",
    ]


def test_explain_prints_text_or_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["routes", "explain", "GET", "/orders", str(file), "-H", "Authorization: Bearer x"]
    assert cli.main(arguments) == 0
    assert "roles     any of admin\n" in capsys.readouterr().out
    assert cli.main([*arguments, "--json"]) == 0
    assert {line["name"] for line in json.loads(capsys.readouterr().out)} >= {"route", "sent", "result"}


@pytest.mark.parametrize("wrong", [("-H", "Authorization"), ("-H", ": x"), ("--from", "somewhere")])
def test_explain_refuses_an_invalid_header_or_address(
    wrong: tuple[str, str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["routes", "explain", "GET", "/orders", str(file), *wrong])
    assert f"{wrong[1]!r} is not" in capsys.readouterr().err


def test_diff_lists_added_removed_and_changed_keys(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(
        FILE.replace("10/s", "20/s").replace("/auth,", "/accounts,").replace("roles: [admin]", "exact: true")
    )
    assert cli.main(["routes", "diff", str(file), str(other)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "- route auth" in lines
    assert "+ route accounts  /accounts → http://auth:3, auth required" in lines
    assert "~ route orders  roles: admin → none" in lines
    assert "~ route orders  exact: no → yes" in lines
    assert "~ route lines  rate_limit.count: 10 → 20" in lines
    assert cli.main(["routes", "diff", str(file), str(file)]) == 0
    assert capsys.readouterr().out == ""
    other.write_text("routes: 1")
    assert cli.main(["routes", "diff", str(file), str(other)]) == 2


def test_schema_in_the_repository_is_up_to_date() -> None:
    kept = (PROJECT / "deploy" / "routes.schema.json").read_text()
    assert kept == json_schema.text(), "gatehouse routes schema > deploy/routes.schema.json"
    assert jsonschema_rs.is_valid(json_schema.schema(), yaml.safe_load((PROJECT / "routes.yaml").read_text()))
    assert jsonschema_rs.is_valid(json_schema.schema(), yaml.safe_load(FILE))


VALUES: list[Any] = [
    *"/a /a/{id} / /a/ a http://a http://a:1/ https://a http://a/b * a.example *.a.example A.example".split(),
    *"GET FETCH required none user ip v1 10/s 3/5m 0/s 2s 250ms 2 10MiB".split(),
    *("", "x y", 0, 1, 200, -1, 1.5, True, False, None, [], [1], [[]], {}, {"unknown": 1}),
    *(["GET"], ["FETCH"], ["a.example"], ["*"], ["https://a.example"]),
    *({"rate": "5/s"}, {"rate": "fast"}, {"burst": 0}, {"key": "ip"}, {"connect": "1s"}, {"connect": 1}),
    *("user+ip", "ip+ip", [{"rate": "5/s"}, {"rate": "9/h", "key": "ip+route"}], [{"key": "ip"}]),
    *({"max": 3}, {"max": 0}, {"max": 3, "key": "client"}, {"max": 3, "key": "everybody"}, "off"),
    *([{"rate": "5/s"}] * 8, [{"rate": "5/s"}] * 9, {"key": "user+route"}, {"key": "user+"}),
    *({"email_verified": True}, {"tenant": ["a", 7]}, {"iss": "x"}, {"tenant": []}, {"tenant": [None]}),
    *({"level": 1.5}, {"level": -1}, {"a b": "x"}, {"role": "admin"}, {"born": "2020-01-01", "at": "12:30"}),
    *({"idle": "2m"}, {"origins": ["http://a"]}, {"credentials": True}, {"credentials": "perhaps"}),
    {"max_age": "1h"},
    *(
        {"request": {"set": {"X-A": value}}}
        for value in ("1", 1, True, "", "a\nb", None, ["a", 2], ["a", ""])
    ),
    *({"response": {"remove": [name]}} for name in ("Server", "a b", "x_a", 1)),
    *({"request": {"add": {name: "a"}}} for name in ("X-B", "x_b", "x b")),
    *({"response": {}}, {"response": []}, {"request": {"drop": ["a"]}}, "api", "apis", "site"),
    *({"preset": "api"}, {"preset": "off"}, {"x_frame_options": "off"}, {"referrer_policy": ""}),
    *({"allow": ["10.0.0.0/8"]}, {"allow": "10.0.0.0/8"}, {"deny": [[]]}, {"deny": []}),
]
LEFT_OUT = object()
PLACES = [
    *(("route", key) for key in (*routes_file.ROUTE_KEYS, "unknown")),
    *(("defaults", key) for key in (*routes_file.POLICY_KEYS, "path")),
    *(("alias", key) for key in (*routes_file.ALIAS_KEYS, "unknown")),
    *(("file", key) for key in (*routes_file.FILE_KEYS, "unknown")),
]
# A schema cannot express conflicts between entries or keys.
BEYOND = ("leads nowhere", "must replace a path", "contains one parameter", "the path has no",
          "health: has no `path:`", "has no effect", "cannot be reached", "names one",
          "must be an address or a network")  # fmt: skip


@pytest.mark.parametrize(("section", "key"), PLACES)
def test_schema_and_validator_agree(section: str, key: str) -> None:
    validator = jsonschema_rs.validator_for(json_schema.schema())
    compared = 0
    for value in (*VALUES, LEFT_OUT):
        document: dict[str, Any] = {"routes": [{"path": "/r", "backend": "http://a"}]}
        entry = {
            "route": document["routes"][0],
            "defaults": document.setdefault("defaults", {}),
            "alias": {"path": "/x", "to": "/r"},
            "file": document,
        }[section]
        if section == "alias":
            document["aliases"] = [entry]
        if value is LEFT_OUT:
            entry.pop(key, None)
        else:
            entry[key] = value
        _, faults = examine(yaml.dump(document, Dumper=yaml.CSafeDumper), "routes.yaml", development=True)
        wrong = [line for line in faults.in_order() if not any(words in line for words in BEYOND)]
        assert validator.is_valid(document) == (not wrong), (document, wrong)
        compared += 1
    assert compared == len(VALUES) + 1
