"""Reading the log: users see their own records, admins see all."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from services.audit import verification
from services.audit.log import Entry
from services.audit.settings import Settings
from shared.ids import new_id
from shared.testing import bearer, token
from tests.audit.support import ALICE, BOB, Log, entry

ADMIN = bearer(token(role="admin"))
AS_ALICE = bearer(token(ALICE))
SEED_FIELDS = ["id", "user_id", "action", "resource", "ip", "user_agent", "metadata", "timestamp"]


def add(settings: Settings, *entries: Entry) -> None:
    """Append records while the service runs, like the consumer of events."""
    with Log(settings) as log:
        log.add(*entries)


async def get(audit: httpx.AsyncClient, headers: dict[str, str] | None = None, **query: str) -> Any:
    response = await audit.get(f"/audit/logs?{urlencode(query)}", headers=headers or AS_ALICE)
    assert response.status_code == 200, response.text
    return response.json()


class TestListLogs:
    async def test_record_is_shown_in_the_documented_format(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        uploaded = entry(
            resource="file-uuid",
            ip="192.168.1.1",
            metadata={"filename": "document.pdf", "size": 1024000},
            timestamp=datetime(2025, 10, 15, 10, 35, tzinfo=UTC),
        )
        add(settings, uploaded)
        (shown,) = await get(audit)

        assert list(shown)[: len(SEED_FIELDS)] == SEED_FIELDS
        assert {name: shown[name] for name in SEED_FIELDS} == {
            "id": uploaded.id,
            "user_id": ALICE,
            "action": "FILE_UPLOAD",
            "resource": "file-uuid",
            "ip": "192.168.1.1",
            "user_agent": "curl/7.68.0",
            "metadata": {"filename": "document.pdf", "size": 1024000},
            "timestamp": "2025-10-15T10:35:00Z",
        }
        assert shown["actor"] == f"user:{ALICE}"
        assert shown["outcome"] == "success"
        assert shown["seq"] == 0

    async def test_users_see_only_their_own_records_newest_first(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        mine = [entry(), entry(action="FILE_DELETE")]
        add(settings, mine[0], entry(BOB), entry(None), mine[1])

        assert [one["id"] for one in await get(audit)] == [mine[1].id, mine[0].id]
        assert [one["id"] for one in await get(audit, user_id=ALICE)] == [mine[1].id, mine[0].id]

    async def test_admins_see_the_records_of_everybody(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        add(settings, entry(), entry(BOB), entry(None))

        assert [one["user_id"] for one in await get(audit, ADMIN)] == [None, BOB, ALICE]
        assert [one["user_id"] for one in await get(audit, ADMIN, user_id=BOB)] == [BOB]

    async def test_records_of_another_account_are_404(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        add(settings, entry(BOB))
        response = await audit.get(f"/audit/logs?user_id={BOB}", headers=AS_ALICE)

        assert response.status_code == 404
        assert response.json()["code"] == "not_found"

    async def test_request_without_token_is_rejected_with_401(self, audit: httpx.AsyncClient) -> None:
        assert (await audit.get("/audit/logs")).status_code == 401

    @pytest.mark.parametrize(
        ("query", "wanted"),
        [
            ({"action": "ORDER_PLACED"}, [2]),
            ({"resource": "thing"}, [1]),
            ({"outcome": "refused"}, [3]),
            ({"from": "2026-03-02T00:00:00Z"}, [3, 2, 1]),
            ({"to": "2026-03-02T00:00:00Z"}, [0]),
            ({"from": "2026-03-02T00:00:00Z", "to": "2026-03-04T00:00:00Z"}, [2, 1]),
            ({"from": "2026-03-02T00:00:00Z", "action": "FILE_UPLOAD"}, [3, 1]),
            ({"action": "NOTHING"}, []),
        ],
    )
    @pytest.mark.parametrize("admin", [True, False])
    async def test_list_contains_records_that_match_all_filters(
        self,
        audit: httpx.AsyncClient,
        settings: Settings,
        query: dict[str, str],
        wanted: list[int],
        *,
        admin: bool,
    ) -> None:
        days = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
        made = [
            entry(timestamp=days[0], id=id_of(days[0])),
            entry(timestamp=days[1], id=id_of(days[1]), resource="thing"),
            entry(timestamp=days[2], id=id_of(days[2]), action="ORDER_PLACED"),
            entry(timestamp=days[3], id=id_of(days[3]), outcome="refused", status=404),
        ]
        add(settings, *made)

        found = await get(audit, ADMIN if admin else AS_ALICE, **query)
        assert [one["id"] for one in found] == [made[number].id for number in wanted]

    @pytest.mark.parametrize(
        "query",
        [
            "user_id=1",
            "outcome=maybe",
            "from=yesterday",
            "from=2026-03-02T00:00:00",
            "from=0.5",
            "to=1772409600",
            "from=0001-01-01T00:00:00%2B14:00",
            "to=9999-12-31T23:59:59-12:00",
            "limit=201",
            "limit=0",
            "cursor=x",
            "format=csv",
            "since=2026-03-02T00:00:00Z",
            "action=A&action=B",
        ],
    )
    async def test_malformed_input_is_rejected_with_422(self, audit: httpx.AsyncClient, query: str) -> None:
        response = await audit.get(f"/audit/logs?{query}", headers=AS_ALICE)

        assert response.status_code == 422, response.text

    @pytest.mark.parametrize("query", ["action=%00", "resource=a%00b"])
    async def test_filter_with_nul_is_rejected_with_422(self, audit: httpx.AsyncClient, query: str) -> None:
        for path in ("logs", "export"):
            assert (await audit.get(f"/audit/{path}?{query}", headers=AS_ALICE)).status_code == 422

    async def test_pages_contain_every_record_once(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        made = [entry() for _ in range(7)]
        add(settings, *made)
        seen: list[str] = []
        url = "/audit/logs?limit=3&action=FILE_UPLOAD"
        while url:
            response = await audit.get(url, headers=AS_ALICE)
            seen += [one["id"] for one in response.json()]
            add(settings, entry())  # records added meanwhile do not shift pages
            link = response.links.get("next")
            url = f"/audit/logs{link['url']}" if link else ""

        assert seen == [one.id for one in reversed(made)]


def id_of(moment: datetime) -> str:
    """Return an id with this creation time."""
    digits = f"{int(moment.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:12]}{new_id()[13:]}"


class TestProofs:
    async def test_checkpoint_and_key_are_public(self, audit: httpx.AsyncClient, settings: Settings) -> None:
        checkpoint = await audit.get("/audit/checkpoint")
        key = (await audit.get("/audit/key")).json()

        assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
        assert checkpoint.text.startswith("gatehouse/audit\n0\n")
        assert key["keys"] == [key["key"]]
        assert key["key"].startswith("gatehouse/audit+")

    async def test_inclusion_of_a_record_is_proven(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        with Log(settings) as log:
            log.fill(300)
            log.sign()
        proof = (await audit.get("/audit/proof/inclusion?seq=17", headers=AS_ALICE)).json()
        earlier = (await audit.get("/audit/proof/inclusion?seq=17&size=256", headers=AS_ALICE)).json()

        assert (proof["seq"], proof["size"], len(proof["proof"])) == (17, 300, 9)
        assert (earlier["size"], len(earlier["proof"])) == (256, 8)
        assert earlier["leaf"] == proof["leaf"]

    async def test_consistency_of_two_sizes_is_proven(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        with Log(settings) as log:
            log.fill(300)
            log.sign()
        proof = (await audit.get("/audit/proof/consistency?from=256")).json()

        assert (proof["size_before"], proof["size"]) == (256, 300)
        assert proof["proof"]
        same = (await audit.get("/audit/proof/consistency?from=300&to=300")).json()
        assert same["proof"] == []
        assert same["root"] == same["root_before"] == proof["root"]

    @pytest.mark.parametrize(
        "url",
        [
            "/audit/proof/inclusion?seq=300",
            "/audit/proof/inclusion?seq=1&size=301",
            "/audit/proof/consistency?from=301",
            "/audit/proof/consistency?from=1&to=301",
        ],
    )
    async def test_proof_of_an_unsigned_size_is_404(
        self, audit: httpx.AsyncClient, settings: Settings, url: str
    ) -> None:
        with Log(settings) as log:
            log.fill(300)
            log.sign()
        response = await audit.get(url, headers=AS_ALICE)

        assert response.status_code == 404
        assert response.json()["code"] == "not_yet_signed"

    @pytest.mark.parametrize(
        ("url", "parameter"),
        [
            ("/audit/proof/inclusion?seq=0&size=0", "seq"),
            ("/audit/proof/inclusion?seq=5&size=5", "seq"),
            ("/audit/proof/consistency?from=200&to=100", "from"),
        ],
    )
    async def test_proof_that_can_never_exist_is_rejected_with_422(
        self, audit: httpx.AsyncClient, settings: Settings, url: str, parameter: str
    ) -> None:
        """A retry would not help, so the response does not suggest one."""
        with Log(settings) as log:
            log.fill(300)
            log.sign()
        response = await audit.get(url, headers=AS_ALICE)

        assert response.status_code == 422
        assert [fault["field"] for fault in response.json()["errors"]] == [parameter]

    @pytest.mark.parametrize("query", ["", "?seq=-1", "?seq=x", "?seq=1&size=-1", f"?seq={2**53}"])
    async def test_malformed_input_is_rejected_with_422(self, audit: httpx.AsyncClient, query: str) -> None:
        response = await audit.get(f"/audit/proof/inclusion{query}", headers=AS_ALICE)

        assert response.status_code == 422

    async def test_inclusion_proof_requires_a_token(self, audit: httpx.AsyncClient) -> None:
        assert (await audit.get("/audit/proof/inclusion?seq=0")).status_code == 401


class TestVerifyLog:
    async def test_intact_log_is_verified_without_faults(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        with Log(settings) as log:
            log.fill(300)
        response = await audit.get("/audit/verify", headers=ADMIN)

        answer = response.json()
        assert answer.pop("seconds") >= 0
        assert answer == {
            "intact": True,
            "first": 0,
            "end": 300,
            "size": 300,
            "records": 300,
            "faults": [],
            "unproven": [],
            "remarks": [],
            "next": None,
        }

    async def test_range_is_verified_up_to_its_checkpoint(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        with Log(settings) as log:
            log.fill(600)
        answer = (await audit.get("/audit/verify?from=256&limit=10", headers=ADMIN)).json()

        assert (answer["intact"], answer["first"], answer["end"], answer["next"]) == (True, 256, 512, 512)

    async def test_verification_finds_a_changed_record(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        with Log(settings) as log:
            log.fill(300)
            log.tamper("UPDATE records SET action = 'HARMLESS' WHERE seq = 17")
        answer = (await audit.get("/audit/verify", headers=ADMIN)).json()

        assert answer["intact"] is False
        assert answer["faults"][0]["kind"] == "changed"
        assert answer["faults"][0]["seq"] == 17

    async def test_verification_is_for_admins_only(self, audit: httpx.AsyncClient) -> None:
        assert (await audit.get("/audit/verify")).status_code == 401
        assert (await audit.get("/audit/verify", headers=AS_ALICE)).status_code == 403

    async def test_second_verification_at_the_same_time_is_rejected_with_409(
        self, audit: httpx.AsyncClient
    ) -> None:
        with verification._running:
            response = await audit.get("/audit/verify", headers=ADMIN)

        assert response.status_code == 409
        assert response.json()["code"] == "verification_running"
        assert (await audit.get("/audit/verify", headers=ADMIN)).status_code == 200

    @pytest.mark.parametrize("query", ["limit=0", "limit=1000001", "from=-1", "from=x"])
    async def test_malformed_input_is_rejected_with_422(self, audit: httpx.AsyncClient, query: str) -> None:
        assert (await audit.get(f"/audit/verify?{query}", headers=ADMIN)).status_code == 422


class TestTheService:
    async def test_signs_new_records(
        self, audit: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(settings, entry())
        await audit.get("/audit/verify", headers=ADMIN)

        assert (await audit.get("/audit/checkpoint")).text.splitlines()[1] == "1"

    async def test_appends_checkpoints_to_the_anchor(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        with Log(settings) as log:
            log.fill(300)
        await audit.get("/audit/verify", headers=ADMIN)
        assert settings.anchor_file is not None
        anchored = settings.anchor_file.read_text()

        assert [line for line in anchored.splitlines() if line.isdecimal()] == ["0", "256", "300"]

    async def test_record_from_the_future_is_listed(
        self, audit: httpx.AsyncClient, settings: Settings
    ) -> None:
        """A record with a timestamp in the future is found as well."""
        later = datetime.now(UTC) + timedelta(days=400)
        add(settings, entry(timestamp=later))

        assert len(await get(audit)) == 1
        assert json.dumps(await get(audit)).count(str(later.year))
