"""The console's files, as the gateway serves them."""

import gzip
import re
from pathlib import Path

from gateway.site.console import FILES, Asset, _accepts_gzip, _without_comments, modules_of
from tests.gateway.support import RunningGateway

PLAIN = {"Accept-Encoding": "identity"}


async def test_every_address_of_the_console_is_the_same_page_with_a_strict_policy(
    gateway: RunningGateway,
) -> None:
    for path in ("/console", "/console/", "/console/orders", "/console/orders?status=pending&open=1"):
        answer = await gateway.request("GET", path, headers=PLAIN)
        assert (answer.status, answer.value("content-type")) == (200, "text/html; charset=utf-8")
        policy = answer.value("content-security-policy") or ""
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "trusted-types 'none'"} <= set(
            policy.split("; ")
        )
        assert "unsafe" not in policy
        assert answer.value("x-content-type-options") == "nosniff"
        assert answer.value("cache-control") == "no-cache"
        assert "<script>" not in answer.body.decode(), "an inline script, which the policy refuses"
        assert "style=" not in answer.body.decode(), "an inline style, which the policy refuses"
        again = await gateway.request("GET", path, headers={"If-None-Match": answer.value("etag") or ""})
        assert (again.status, again.body) == (304, b"")


async def test_files_that_the_page_names_are_cached_forever_and_compressed(gateway: RunningGateway) -> None:
    page = (await gateway.request("GET", "/console", headers=PLAIN)).body.decode()
    named = re.findall(r'(?:href|src)="(/console/[0-9a-f]{12}/[^"]+)"', page)
    assert len(named) > 5

    for path in named:
        plain = await gateway.request("GET", path, headers=PLAIN)
        packed = await gateway.request("GET", path, headers={"Accept-Encoding": "br, gzip;q=0.8"})
        assert plain.status == packed.status == 200, path
        assert plain.value("cache-control") == "public, max-age=31536000, immutable"
        assert (plain.value("content-encoding"), packed.value("content-encoding")) == (None, "gzip")
        assert "Accept-Encoding" in packed.values("vary")
        assert gzip.decompress(packed.body) == plain.body
        # An update may be under way: files of another version are served, but not kept.
        other = re.sub(r"[0-9a-f]{12}", "0" * 12, path)
        assert (await gateway.request("GET", other)).value("cache-control") == "no-store"


async def test_page_names_the_modules_of_its_screen(gateway: RunningGateway) -> None:
    async def modules(path: str) -> list[str]:
        page = (await gateway.request("GET", path, headers=PLAIN)).body.decode()
        return re.findall(r'rel="modulepreload" href="/console/[0-9a-f]{12}/([^"]+)"', page)

    always = await modules("/console/nowhere")
    orders = await modules("/console/orders?open=1")

    assert await modules("/console") == await modules("/console/") == [*always, "pages/dashboard.js"]
    assert orders[: len(always)] == always
    assert orders[len(always)] == "pages/orders.js"
    assert {"parts/table.js", "parts/pick.js"} <= set(orders)
    assert "pages/order_drawer.js" not in orders, "it is loaded when an order is opened"
    assert len(orders) == len(set(orders))


def test_modules_are_those_that_are_imported_in_turn() -> None:
    contents = {
        "pages/a.js": b'import { b } from "../parts/b.js";\nconst later = () => import("./d.js");\n',
        "parts/b.js": b'import {\n  c,\n} from "../core/c.js";\nimport { e } from "./e.js";\n',
        "parts/e.js": b'import { c } from "../core/c.js";\nimport { b } from "./b.js";\n',
        "core/c.js": b'const text = "./no.js";\n',
        "pages/d.js": b"",
    }

    assert modules_of("pages/a.js", contents) == ["pages/a.js", "parts/b.js", "core/c.js", "parts/e.js"]


async def test_only_files_for_browsers_are_served(gateway: RunningGateway) -> None:
    page = (await gateway.request("GET", "/console", headers=PLAIN)).body.decode()
    version = re.findall(r"/console/([0-9a-f]{12})/", page)[0]

    for name in (
        "index.html",
        "start.html",
        "jsconfig.json",
        "vendor/packages.toml",
        "style/parts.css",
        "../errors.py",
        "no.js",
    ):
        assert (await gateway.request("GET", f"/console/{version}/{name}")).status in (400, 404), name
    styles = await gateway.request("GET", f"/console/{version}/pages/tickets.css", headers=PLAIN)
    assert (styles.status, styles.value("content-type")) == (200, "text/css; charset=utf-8")
    assert b".thread" in styles.body
    assert b"/*" not in styles.body
    terminals = await gateway.request("GET", f"/console/{version}/pages/terminals.css", headers=PLAIN)
    assert b".xterm-viewport" in terminals.body  # of the vendored sheet, which it imports
    assert b"@import" not in terminals.body
    licences = await gateway.request("GET", f"/console/{version}/vendor/LICENCES")
    assert licences.status == 200
    assert licences.body.decode().count("Permission is hereby granted") == 5
    for path in ("/api/console", f"/api/v1/console/{version}/app.js"):  # they name each other by full path
        assert (await gateway.request("GET", path)).status == 404


def test_clients_that_refuse_gzip_get_the_plain_file() -> None:
    assert [_accepts_gzip(one) for one in ("gzip", "br, GZIP", "*", "gzip;q=0.5")] == [True] * 4
    assert [_accepts_gzip(one) for one in ("", "identity", "gzip;q=0", "br", "gzip; q=0.0")] == [False] * 5


def test_tag_changes_with_the_content() -> None:
    assert Asset.of(b"a", "a.js").tag != Asset.of(b"b", "a.js").tag
    assert Asset.of(b"a", "a.js").media_type == "text/javascript"


def test_page_preloads_modules_that_exist() -> None:
    named = re.findall(r'/console/VERSION/([^"]+)"', (FILES / "index.html").read_text())

    assert [name for name in named if name != "style.css" and not (FILES / name).exists()] == []


def test_comments_of_scripts_are_left_out_and_lines_stay_where_they_are(tmp_path: Path) -> None:
    file = tmp_path / "some.js"
    file.write_text(
        '// @ts-check\n/** Long\n * text. */\nconst a = "/** kept */"; // kept\n  // gone\n  b("//kept");\n'
        "c = /** @type {any} */ (d);\n"
    )

    assert (
        _without_comments(file).decode()
        == '\n\n\nconst a = "/** kept */"; // kept\n\nb("//kept");\nc = (d);\n'
    )
    styles = tmp_path / "some.css"
    styles.write_text("/* Gone. */\n@media print {\n  .a > .b { color: red; margin: 0 auto; }\n}\n")
    assert _without_comments(styles).decode() == "\n@media print{.a > .b{color:red;margin:0 auto;}}"
