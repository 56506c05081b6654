"""The scripts of the docs page, run in Node with a fake browser: what they send, and when."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.site.docs import PAGES
from tests import support

BROWSER = """
import assert from "node:assert/strict";

class Element {
  constructor(tag) { Object.assign(this, { tag, children: [], attributes: {}, value: "" }); }
  addEventListener() {}
  setAttribute(name, value) { this.attributes[name] = value; if (value === "file") this.files = []; }
  append(...children) { this.children.push(...children); }
}
globalThis.document = { createElement: (tag) => new Element(tag), getElementById: () => null };
const kept = new Map();
globalThis.sessionStorage = {
  getItem: (key) => kept.get(key) ?? null,
  setItem: (key, value) => kept.set(key, value),
  removeItem: (key) => kept.delete(key),
};
const calls = [];
let answers = [];
globalThis.fetch = async (path, options) => {
  calls.push({ path, body: options.body && JSON.parse(options.body) });
  const answer = answers.shift();
  if (answer instanceof Error) throw answer;
  return { ok: answer.status < 400, status: answer.status, json: async () => answer.body };
};
const ending = (seconds, name = "a") =>
  `x.${btoa(JSON.stringify({ exp: Date.now() / 1000 + seconds, username: name }))}.x`;
const signedIn = (seconds, refresh_token) =>
  ({ status: 200, body: { token: ending(seconds), refresh_token } });
const row = (id, label, control) => control;
"""


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    support.need("node")
    for file in PAGES.glob("*.js"):
        shutil.copy(file, tmp_path / file.name)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path


def run(pages: Path, script: str) -> Any:
    """Run the script; return its `result`."""
    (pages / "test.js").write_text(
        f"{BROWSER}{script}\nconsole.log(JSON.stringify(result));\nprocess.exit(0);\n"
    )
    done = subprocess.run(
        ["node", "test.js"], cwd=pages, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class TestSession:
    def test_token_about_to_expire_is_refreshed_once_for_concurrent_requests(self, pages: Path) -> None:
        result = run(
            pages,
            """
import { freshToken, signIn, token } from "./session.js";
answers = [signedIn(30, "first"), signedIn(900, "second")];
await signIn("a@example.com", "secret");
const before = token();
const sent = await Promise.all([freshToken(), freshToken(), freshToken()]);
await freshToken();
const isNew = sent.every((one) => one === token() && one !== before);
const result = { calls, isNew, refresh: kept.get("gatehouse.refresh") };
""",
        )

        assert result["isNew"]
        assert result["refresh"] == "second"
        assert result["calls"] == [
            {"path": "/auth/login", "body": {"email": "a@example.com", "password": "secret"}},
            {"path": "/auth/refresh", "body": {"refresh_token": "first"}},
        ]

    def test_refused_refresh_signs_out_and_an_unreachable_gateway_does_not(self, pages: Path) -> None:
        result = run(
            pages,
            """
import { freshToken, signIn } from "./session.js";
answers = [signedIn(30, "first"), new TypeError("offline"), { status: 401, body: { detail: "over" } }];
await signIn("a", "secret");
const offline = await freshToken();
const refused = await freshToken();
const result = { offline: Boolean(offline), refused, kept: kept.size, name: calls[0].body };
""",
        )

        assert result == {
            "offline": True,
            "refused": None,
            "kept": 0,
            "name": {"username": "a", "password": "secret"},
        }

    def test_signing_out_ends_the_session_and_deletes_both_tokens(self, pages: Path) -> None:
        result = run(
            pages,
            """
import { signIn, signOut } from "./session.js";
answers = [signedIn(900, "first"), { status: 204 }];
await signIn("a", "secret");
await signOut();
const result = { last: calls.at(-1), kept: kept.size };
""",
        )

        assert result == {"last": {"path": "/auth/logout", "body": {"refresh_token": "first"}}, "kept": 0}

    def test_pasted_token_is_sent_unchanged(self, pages: Path) -> None:
        result = run(
            pages,
            """
import { freshToken, use } from "./session.js";
use("opaque");
const result = { sent: await freshToken(), calls };
""",
        )

        assert result == {"sent": "opaque", "calls": []}


BODIES = """
import { bodyInput } from "./bodies.js";
import { Schemas } from "./schema.js";
const operation = (type, schema) =>
  ({ id: "x", requestBody: { required: true, content: { [type]: { schema } } } });
const schemas = new Schemas({ components: {} });
const file = new File(["hello"], "a.txt", { type: "text/plain" });
"""


class TestBodies:
    def test_form_with_a_file_is_sent_as_a_form(self, pages: Path) -> None:
        result = run(
            pages,
            BODIES
            + """
const properties = {
  file: { type: "string", format: "binary" },
  visibility: { enum: ["private", "public"] },
  metadata: { type: "string" },
};
const schema = { type: "object", required: ["file"], properties };
const form = bodyInput(operation("multipart/form-data", schema), schemas, row);
const [picker, visibility, metadata] = form.rows;
const missing = form.missing().name;
picker.files = [file]; picker.value = "a.txt"; visibility.value = "public";
const sent = form.read();
const text = async ([name, value]) => [name, value.text ? await value.text() : value];
const result = {
  missing, kinds: [picker.attributes.type, visibility.tag, metadata.tag],
  type: sent.type, then: form.missing() ?? null,
  parts: await Promise.all([...sent.body].map(text)), curl: sent.curl,
};
""",
        )

        assert result == {
            "missing": "file",
            "then": None,
            "kinds": ["file", "select", "input"],
            "type": None,
            "parts": [["file", "hello"], ["visibility", "public"]],
            "curl": [["-F", "file=@a.txt"], ["-F", "visibility=public"]],
        }

    def test_binary_body_is_sent_from_a_file(self, pages: Path) -> None:
        result = run(
            pages,
            BODIES
            + """
const type = "application/offset+octet-stream";
const input = bodyInput(operation(type, { type: "string", format: "binary" }), schemas, row);
const empty = input.read() ?? null;
input.rows[0].files = [file];
const sent = input.read();
const text = await sent.body.text();
const result = { kind: input.rows[0].attributes.type, empty, type: sent.type, text, curl: sent.curl };
""",
        )

        assert result == {
            "kind": "file",
            "empty": None,
            "type": "application/offset+octet-stream",
            "text": "hello",
            "curl": [["--data-binary", "@a.txt"]],
        }

    def test_json_body_starts_with_the_example_of_the_schema(self, pages: Path) -> None:
        result = run(
            pages,
            BODIES
            + """
const schema = { type: "object", properties: { name: { type: "string" } }, required: ["name"] };
const values = [{ ...schema, examples: [{ name: "Laptop" }] }, schema]
  .map((one) => JSON.parse(bodyInput(operation("application/json", one), schemas, row).read().body));
const result = values;
""",
        )

        assert result == [{"name": "Laptop"}, {"name": "name"}]


def test_words_in_backticks_are_code(pages: Path) -> None:
    result = run(
        pages,
        """
import { prose } from "./dom.js";
const result = prose("Send `a` and `b`.").map((part) => part.tag ? { code: part.children } : part);
""",
    )

    assert result == ["Send ", {"code": ["a"]}, " and ", {"code": ["b"]}, "."]


def test_summary_of_an_operation_shows_no_backticks() -> None:
    """Each place that shows a summary renders it with `prose`, or removes the backticks."""
    script = (PAGES / "docs.js").read_text()

    assert script.count("operation.summary") == 3
    assert "prose(operation.summary)" in script
    assert 'operation.summary?.replaceAll("`", "")' in script
    assert ".innerHTML" not in "".join(file.read_text() for file in PAGES.glob("*.js"))
