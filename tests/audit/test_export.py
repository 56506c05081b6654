"""Exports, and the stand-alone verifier as an auditor runs it."""

import asyncio
import csv
import io
import json
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import httpx
import pytest

from services.audit.export import FullExport, ndjson
from services.audit.settings import Settings
from shared.testing import bearer, token
from tests.audit.support import ALICE, BOB, Log, changed, entry

ADMIN = bearer(token(role="admin"))
AS_ALICE = bearer(token(ALICE))


class Auditor:
    """An auditor who has only the verifier, the key and perhaps a checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, name: str, content: bytes) -> Path:
        file = self.folder / name
        file.write_bytes(content)
        return file

    def check(self, export: bytes, key: str, *kept: str) -> tuple[int, str]:
        self.keep("export.ndjson", export)
        arguments = ["export.ndjson", "--key", key]
        for number, note in enumerate(kept):
            arguments += ["--checkpoint", self.keep(f"kept{number}", note.encode()).name]
        # -I: isolated mode, so that nothing from this repository can be imported
        done = subprocess.run(
            [sys.executable, "-I", "audit-verifier.py", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
async def auditor(audit: httpx.AsyncClient, tmp_path: Path) -> Auditor:
    folder = tmp_path / "auditor"
    folder.mkdir()
    made = Auditor(folder)
    made.keep("audit-verifier.py", (await audit.get("/audit/verifier")).content)
    return made


async def key_of(audit: httpx.AsyncClient) -> str:
    return str((await audit.get("/audit/key")).json()["key"])


async def export(audit: httpx.AsyncClient, headers: dict[str, str], query: str = "") -> httpx.Response:
    response = await audit.get(f"/audit/export{query}", headers=headers)
    assert response.status_code == 200, response.text
    return response


class TestTheVerifierAlone:
    async def test_verifier_runs_with_the_cryptography_of_debian_12(self, auditor: Auditor) -> None:
        """Debian 12 has release 38, which has no `public_bytes_raw()` yet."""
        assert "_bytes_raw" not in (auditor.folder / "audit-verifier.py").read_text()

    async def test_export_of_the_whole_log_is_verified(
        self, audit: httpx.AsyncClient, settings: Settings, auditor: Auditor
    ) -> None:
        kept = (await audit.get("/audit/checkpoint")).text
        with Log(settings) as log:
            log.fill(300)
            kept += log.sign()
            log.fill(300)
        response = await export(audit, ADMIN)

        assert response.headers["content-type"] == "application/x-ndjson"
        assert response.headers["content-disposition"].endswith('.ndjson"')
        code, output = auditor.check(response.content, await key_of(audit), kept)
        assert (code, output) == (0, "OK: 600 records, proven by the signed checkpoint over 600\n")

    async def test_partial_export_of_one_account_is_verified(
        self, audit: httpx.AsyncClient, settings: Settings, auditor: Auditor
    ) -> None:
        with Log(settings) as log:
            log.add(*(entry(user_id) for user_id in (ALICE, BOB, ALICE, None)))
        mine = await export(audit, AS_ALICE)
        records = [json.loads(line) for line in mine.content.splitlines()]

        assert [one["seq"] for one in records if one["type"] == "record"] == [0, 2]
        assert auditor.check(mine.content, await key_of(audit))[0] == 0

    async def test_part_of_the_log_proves_that_it_continues_a_kept_checkpoint(
        self, audit: httpx.AsyncClient, settings: Settings, auditor: Auditor
    ) -> None:
        with Log(settings) as log:
            log.fill(3)
            kept = log.sign()
            log.fill(2)
        key = await key_of(audit)
        for query, expected in (("?kept=3", 0), ("", 3), ("?kept=4", 3), ("?kept=100", 3)):
            mine = await export(audit, AS_ALICE, query)
            assert auditor.check(mine.content, key, kept)[0] == expected, query
        assert (await audit.get("/audit/export?kept=-1", headers=AS_ALICE)).status_code == 422

    async def test_changed_record_is_tampering(
        self, audit: httpx.AsyncClient, settings: Settings, auditor: Auditor
    ) -> None:
        with Log(settings) as log:
            log.fill(3)
        lines = (await export(audit, ADMIN)).content.splitlines(keepends=True)
        lines[2] = changed(lines[2], action="HARMLESS")

        code, output = auditor.check(b"".join(lines), await key_of(audit))
        assert code == 1
        assert output.startswith("TAMPERED: changed at record 1: the record does not match its hash")

    async def test_checkpoint_of_a_foreign_key_is_tampering(
        self, audit: httpx.AsyncClient, settings: Settings, auditor: Auditor
    ) -> None:
        other = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        response = await export(audit, ADMIN)

        code, output = auditor.check(response.content, other)
        assert code == 1
        assert output.startswith("TAMPERED: foreign_key: the checkpoint is not signed")

    @pytest.mark.parametrize(
        ("content", "key", "words"),
        [
            (b"", "", "the file is empty"),
            (b"seq,id\n", "", "not a header"),
            (b"\xff\xfe\n", "", "not a header"),
            (b"[]\n", "", "not a header"),
            (b"{}", "nonsense", "not a log's public key"),
        ],
    )
    async def test_unusable_input_cannot_be_checked(
        self, audit: httpx.AsyncClient, auditor: Auditor, content: bytes, key: str, words: str
    ) -> None:
        code, output = auditor.check(content, key or await key_of(audit))

        assert code == 2
        assert words in output
        assert "Traceback" not in output

    async def test_invalid_kept_checkpoint_cannot_be_checked(
        self, audit: httpx.AsyncClient, auditor: Auditor
    ) -> None:
        response = await export(audit, ADMIN)
        code, output = auditor.check(response.content, await key_of(audit), "gatehouse/audit\n0\n")

        assert (code, output) == (
            2,
            "cannot be checked: kept0: 0 of 0 checkpoints are signed by the given key\n",
        )


class TestAccess:
    async def test_request_without_token_is_rejected_with_401(self, audit: httpx.AsyncClient) -> None:
        assert (await audit.get("/audit/export")).status_code == 401

    async def test_export_of_another_account_is_404(self, audit: httpx.AsyncClient) -> None:
        assert (await audit.get(f"/audit/export?user_id={BOB}", headers=AS_ALICE)).status_code == 404

    @pytest.mark.parametrize("query", ["format=xml", "limit=5", "from=x"])
    async def test_malformed_input_is_rejected_with_422(self, audit: httpx.AsyncClient, query: str) -> None:
        assert (await audit.get(f"/audit/export?{query}", headers=AS_ALICE)).status_code == 422

    async def test_export_with_a_filter_is_verified(
        self, audit: httpx.AsyncClient, settings: Settings, auditor: Auditor
    ) -> None:
        with Log(settings) as log:
            log.add(entry(), entry(BOB, action="ORDER_PLACED"), entry(BOB))
        response = await export(audit, ADMIN, f"?user_id={BOB}&action=ORDER_PLACED")
        records = [json.loads(line) for line in response.content.splitlines()]

        assert [one["seq"] for one in records if one["type"] == "record"] == [1]
        assert auditor.check(response.content, await key_of(audit))[0] == 0

    async def test_partial_export_names_its_filter(
        self, audit: httpx.AsyncClient, settings: Settings, auditor: Auditor
    ) -> None:
        with Log(settings) as log:
            log.add(entry(), entry(BOB))
        query = "?from=2026-01-31T12:00:00Z&outcome=success&resource=a%1Bb"
        response = await export(audit, AS_ALICE, query)

        header, *lines = response.content.splitlines(keepends=True)
        named = json.loads(header)["filter"]
        assert named == {
            "user_id": ALICE,
            "from": "2026-01-31T12:00:00Z",
            "outcome": "success",
            "resource": "a\x1bb",
        }
        key = await key_of(audit)
        code, output = auditor.check(response.content, key)
        asked = f"from 2026-01-31T12:00:00Z, outcome success, resource a\\u001bb, user_id {ALICE}"
        assert (code, output.splitlines()[0]) == (0, f"note: a part of the log, selected by: {asked}")

        wider = changed(header, filter={"user_id": ALICE})
        code, output = auditor.check(b"".join([wider, *lines]), key)
        assert (code, "TAMPERED: changed" in output) == (1, True)

    async def test_full_export_has_no_filter(self, audit: httpx.AsyncClient) -> None:
        header, *_ = (await export(audit, ADMIN)).content.splitlines()
        assert "filter" not in json.loads(header)

    def test_old_partial_export_without_a_filter_is_accepted(self, sqlite_log: Log) -> None:
        sqlite_log.fill(3)
        header, *lines = sqlite_log.lines(sqlite_log.partial(ALICE))
        older = json.loads(header)
        del older["filter"]

        verification = sqlite_log.check([json.dumps(older).encode() + b"\n", *lines[:-1]])
        # The signature at the end covers the filter, so the last line was left out.
        assert [fault.kind for fault in verification.faults] == ["truncated"]
        assert verification.remarks == ["this part of the log does not name its filter"]

    async def test_export_in_several_chunks_is_verified(
        self, audit: httpx.AsyncClient, settings: Settings, auditor: Auditor
    ) -> None:
        with Log(settings) as log:
            log.fill(2500)
        whole, part = await export(audit, ADMIN), await export(audit, AS_ALICE)
        key = await key_of(audit)

        assert auditor.check(whole.content, key) == (
            0,
            "OK: 2500 records, proven by the signed checkpoint over 2500\n",
        )
        assert auditor.check(part.content, key)[0] == 0
        assert part.content.count(b'"type":"record"') == 2500


class TestSpreadsheets:
    async def test_csv_has_a_header_line_and_one_line_per_record(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        with Log(settings) as log:
            log.add(entry(), entry(BOB))
        response = await export(audit, AS_ALICE, "?format=csv")
        (row,) = csv.DictReader(io.StringIO(response.text))

        assert response.headers["content-type"] == "text/csv; charset=utf-8"
        assert row["user_id"] == ALICE
        assert json.loads(row["metadata"])["filename"] == "document.pdf"

    @pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
    async def test_formulas_are_defused(
        self, audit: httpx.AsyncClient, settings: Settings, begin: str
    ) -> None:
        formula = f'{begin}HYPERLINK("http://example.com","x")'
        with Log(settings) as log:
            log.add(entry(user_agent=formula, resource=formula))
        response = await export(audit, AS_ALICE, "?format=csv")
        (row,) = csv.DictReader(io.StringIO(response.text, newline=""))

        assert row["user_agent"] == row["resource"] == f"'{formula}"


def test_export_during_appends_is_verified(sqlite_log: Log) -> None:
    """An export ends at the checkpoint with which it began."""
    sqlite_log.fill(2000)
    sqlite_log.sign()
    export_of_now = sqlite_log.full()
    writer = threading.Thread(target=sqlite_log.fill, args=(500,))
    writer.start()
    lines = sqlite_log.lines(export_of_now)
    writer.join()

    verification = sqlite_log.check(lines)
    assert verification.faults == []
    assert verification.records == 2000


@pytest.mark.prove
def test_memory_does_not_grow_with_the_log(sqlite_log: Log) -> None:
    def peak() -> int:
        sqlite_log.sign()
        export_of_now = sqlite_log.full()
        tracemalloc.start()
        asyncio.run(read_and_discard(sqlite_log, export_of_now))
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    sqlite_log.fill(3000)
    small = peak()
    sqlite_log.fill(6000)

    assert peak() < 1.2 * small


async def read_and_discard(log: Log, export_of_now: FullExport) -> None:
    async for _ in ndjson(log.database, export_of_now, log.checkpoints.keys):
        pass
