"""Revocations in memory, their effect on verifiers, and the feed from auth."""

import asyncio
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

import shared.identity.revocations
from shared.caller import Caller
from shared.errors import Unavailable
from shared.identity.revocations import VERIFIER, Follower, Kind, Revocation, Revocations
from shared.identity.tokens import RevokedToken, TokenVerifier
from shared.peers.client import HttpClient
from shared.testing import TEST_INTERNAL_SECRET, bearer, running, token
from tests import stalls
from tests.gateway.backends import Backend, Conversation
from tests.shared.notes.app import Settings, create_app
from tests.shared.processes import ROOT
from tests.shared.test_identity import Issuer, signed_by

MANY = 100_000
WAIT_SECONDS_MAX = 10


def revoked(
    kind: str, subject: str, *, number: int = 1, below: int | None = None, seconds: float = 60
) -> Revocation:
    expires = datetime.fromtimestamp(time.time() + seconds, UTC)
    return Revocation(number=number, kind=kind, subject=subject, below=below, expires=expires)


def a_caller(**fields: Any) -> Caller:
    plain = {"id": "u", "role": "user", "username": None, "email": None, "session_id": "s", "expires": 2e9}
    return Caller(
        **{**plain, "scopes": frozenset(), "token_id": "t", "client_id": "c", "key_id": "k", **fields}
    )


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - the task it waits for has no event
            await asyncio.sleep(0.005)


class TestRevocations:
    @pytest.mark.parametrize(
        ("kind", "subject"), [("session", "s"), ("user", "u"), ("token", "t"), ("client", "c"), ("key", "k")]
    )
    def test_revocation_of_every_kind_covers_its_tokens(self, kind: str, subject: str) -> None:
        revocations = Revocations()
        revocations.add([revoked(kind, f"other {subject}")])
        assert not revocations.cover(a_caller())
        revocations.add([revoked(kind, subject)])

        assert revocations.cover(a_caller())

    @pytest.mark.parametrize(("kind", "field"), [("user", "version"), ("client", "client_version")])
    def test_newer_versions_are_not_revoked(self, kind: str, field: str) -> None:
        revocations = Revocations()
        revocations.add([revoked(kind, kind[0], below=3), revoked(kind, kind[0], below=2)])

        assert [revocations.cover(a_caller(**{field: version})) for version in (0, 2, 3, 4)] == [
            True,
            True,
            False,
            False,
        ]

    def test_missing_claims_of_a_caller_match_no_revocation(self) -> None:
        revocations = Revocations()
        revocations.add([revoked(kind, "") for kind in Kind])

        assert not revocations.cover(a_caller(session_id=None, token_id=None, client_id=None, key_id=None))

    def test_unknown_kind_is_ignored(self) -> None:
        revocations = Revocations()
        revocations.add([revoked("planet", "u"), revoked("session", "s")])

        assert len(revocations) == 1
        assert revocations.cover(a_caller())

    def test_expired_revocation_is_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        revocations = Revocations()
        revocations.add([revoked(kind, kind[0], seconds=60) for kind in Kind])
        revocations.add([revoked("user", "later", seconds=600)])
        assert len(revocations) == 6
        later = time.time() + 61
        monkeypatch.setattr("time.time", lambda: later)
        revocations.add([])

        assert len(revocations) == 1
        assert not revocations.cover(a_caller())
        assert revocations.cover(a_caller(id="later"))

    @pytest.mark.prove
    def test_memory_is_limited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shared.identity.revocations, "KEPT_MAX", MANY)
        revocations, used = Revocations(), []
        tracemalloc.start()
        try:
            with capture_logs():
                for first in range(0, 2 * MANY, 1000):
                    revocations.add([revoked("session", f"{n:036}") for n in range(first, first + 1000)])
                    used.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()

        assert len(revocations) == MANY
        assert max(used) < 40 * 1024 * 1024
        assert not revocations.cover(a_caller(session_id=f"{MANY - 1:036}"))
        assert revocations.cover(a_caller(session_id=f"{MANY:036}"))

    def test_dropping_unexpired_revocations_is_logged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shared.identity.revocations, "KEPT_MAX", 2)
        revocations = Revocations()
        with capture_logs() as lines:
            revocations.add([revoked("session", str(number)) for number in range(5)])

        assert [(line["event"], line["kind"], line["number"]) for line in lines] == [
            ("revocations_dropped", "session", 3)
        ]

    def test_additions_call_the_on_change_callbacks(self) -> None:
        told = []
        revocations = Revocations()
        revocations.on_change.append(lambda: told.append(len(revocations)))
        revocations.add([])
        revocations.add([revoked("user", "u"), revoked("session", "s")])

        assert told == [2]

    def test_metric_shows_how_long_ago_the_feed_was_current(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With several workers the value given to `set` is exported, with one worker that of the function."""
        shown: list[float] = []
        functions: list[Callable[[], float]] = []
        gauge = SimpleNamespace(set=shown.append, set_function=functions.append)
        monkeypatch.setattr(shared.identity.revocations, "LAG", gauge)
        revocations = Revocations()
        (lag,) = functions
        revocations._known -= 7  # as after seven seconds of silence
        assert lag() >= 7
        revocations.note_silence(Unavailable())
        assert shown.pop() >= 7
        revocations.confirm()

        assert shown == [0]
        assert lag() < 7


class Paused(Exception):
    """Ends a follower that would retry forever."""


async def test_pauses_between_attempts_grow_with_the_outage_up_to_half_a_second(
    make_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    outages, pauses = iter([0.0, 1.0, 3.0, 60.0, 0.1]), list[float]()
    revocations = Revocations()

    async def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 1))
        silent = next(outages, None)
        if silent is None:
            raise Paused
        revocations._known = time.monotonic() - silent  # 0.1: connected, and lost again

    class Away(HttpClient):
        async def long_poll(self, *_: Any, **__: Any) -> bytes:
            raise Unavailable

    monkeypatch.setattr("shared.identity.revocations.asyncio.sleep", sleep)
    monkeypatch.setattr("shared.identity.revocations.RETRY_SECONDS_MIN", 0.1)
    with pytest.raises(Paused):
        await Follower(revocations, Away(), make_settings(Settings))._follow()

    assert pauses == [0.1, 0.1, 0.1, 0.3, 0.5, 0.1]


@pytest.fixture
def make_verifier(make_settings: Callable[..., Any]) -> Callable[..., TokenVerifier]:
    def make(**values: Any) -> TokenVerifier:
        return TokenVerifier(make_settings(Settings, **values), HttpClient())

    return make


class TestVerifier:
    @pytest.mark.parametrize(
        ("kind", "claim"), [("session", "sid"), ("user", "sub"), ("token", "jti"), ("client", "client_id")]
    )
    async def test_cached_token_is_refused_once_revoked(
        self, make_verifier: Callable[..., TokenVerifier], kind: str, claim: str
    ) -> None:
        verifier = make_verifier()
        one, other = token(client_id="one"), token(client_id="other")
        for good in (one, other):
            await verifier.verify(good)
        named = jwt.decode(one, options={"verify_signature": False})[claim]
        verifier.revocations.add([revoked(kind, named)])

        for _ in range(2):
            assert verifier.remembered(one) is None
            with pytest.raises(RevokedToken) as refused:
                await verifier.verify(one)
        assert (refused.value.status, refused.value.code) == (401, "invalid_token")
        assert verifier.remembered(other) is not None

    async def test_all_tokens_of_a_revoked_key_are_refused(self, make_settings: Callable[..., Any]) -> None:
        issuer = Issuer("one", "two")
        settings = make_settings(Settings, jwt_secret=None)
        verifier = TokenVerifier(settings, HttpClient(), fetch_keys=issuer.document)
        one, two = signed_by("one"), signed_by("two")
        await verifier.verify(one)
        verifier.revocations.add([revoked("key", "one")])

        with pytest.raises(RevokedToken):
            await verifier.verify(one)
        await verifier.verify(two)

    async def test_tokens_of_newer_versions_are_accepted(
        self, make_verifier: Callable[..., TokenVerifier]
    ) -> None:
        verifier = make_verifier()
        verifier.revocations.add([revoked("user", "u", below=2)])
        for version in (None, 0, 1, -1):
            with pytest.raises(RevokedToken):
                await verifier.verify(token("u", ver=version))

        await verifier.verify(token("u", ver=2))

    @pytest.mark.parametrize("version", ["2", 2.0, True, [], {}])
    async def test_invalid_version_is_refused(
        self, make_verifier: Callable[..., TokenVerifier], version: object
    ) -> None:
        with pytest.raises(Exception, match="malformed"):
            await make_verifier().verify(token("u", ver=version))

    async def test_strict_mode_accepts_no_token_while_the_feed_is_stale(
        self, make_verifier: Callable[..., TokenVerifier]
    ) -> None:
        available, strict = make_verifier(), make_verifier(revocation_mode="strict")
        good = token()
        await available.verify(good)
        with pytest.raises(Unavailable):
            await strict.verify(good)
        strict.revocations.confirm()
        await strict.verify(good)
        assert strict.remembered(good) is not None
        strict.revocations._known -= 4  # as after four seconds of silence

        assert strict.remembered(good) is None
        with pytest.raises(Unavailable):
            await strict.verify(good)
        assert available.remembered(good) is not None


class Feed:
    """The feed of a made-up auth: `answers` are the responses to send, `asked` the requests received."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.names: list[str] = []
        self.answers: list[bytes | None] = []
        self.more = asyncio.Event()

    def will_answer(self, *rows: Revocation, newest: int, following: int | None = None) -> None:
        entries = [row.model_dump(mode="json") for row in rows]
        page = {"revocations": entries, "next": newest if following is None else following}
        self.answers.append(json.dumps({**page, "oldest": 1, "newest": newest}).encode())
        self.more.set()

    async def talk(self, conversation: Conversation) -> None:
        while (received := await conversation.request()) is not None:
            self.asked.append(received.target)
            self.names += [value for name, value in received.headers if name.lower() == VERIFIER]
            [authorization] = [value for name, value in received.headers if name.lower() == "authorization"]
            secret, audience = TEST_INTERNAL_SECRET, "internal:auth"
            jwt.decode(authorization.removeprefix("Bearer "), secret, algorithms=["HS256"], audience=audience)
            await conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not self.answers:
                await conversation.send("1\r\n\n\r\n")
                self.more.clear()
                await asyncio.wait([asyncio.ensure_future(self.more.wait())], timeout=0.02)
            answer = self.answers.pop(0)
            if answer is None:
                return
            await conversation.send(f"{len(answer):x}\r\n".encode(), answer, "\r\n0\r\n\r\n")


@pytest.fixture
async def feed() -> Feed:
    return Feed()


@asynccontextmanager
async def following(settings: Settings) -> AsyncIterator[Revocations]:
    client, revocations = HttpClient(), Revocations()
    async with Follower(revocations, client, settings):
        yield revocations
    await client.close()


def test_lag_of_several_workers_is_the_longest(tmp_path: Path) -> None:
    code = """
import sys
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from shared.identity.revocations import Revocations
revocations = Revocations()
revocations._known -= float(sys.argv[1])
revocations.note_silence(Exception("quiet"))
if "confirm" in sys.argv:
    revocations.confirm()
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    told = []
    for arguments in (["7"], ["70", "confirm"], ["2"]):
        command = [sys.executable, "-c", code, *arguments]
        shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        [line] = [line for line in shown.splitlines() if line.startswith("revocation_lag_seconds")]
        told.append(float(line.split()[-1]))

    assert [round(value) for value in told] == [7, 7, 7]


class TestFollower:
    async def test_all_pages_are_loaded_at_the_start(
        self, feed: Feed, make_settings: Callable[..., Any]
    ) -> None:
        feed.will_answer(revoked("session", "one"), newest=9, following=4)
        feed.will_answer(revoked("session", "two"), newest=9, following=8)
        feed.will_answer(revoked("session", "three"), newest=9)
        async with Backend(feed.talk) as auth, following(make_settings(Settings, auth_url=auth.url)) as known:
            assert len(known) == 3
            assert known.is_current
            await eventually(lambda: len(feed.asked) == 4)

        asked = [target.partition("?")[2] for target in feed.asked]
        assert asked == ["after=0", "after=4", "after=8", "after=9"]
        assert len(feed.names) == 4
        assert len({*feed.names}) == 1  # by which auth knows who has come back

    async def test_new_revocation_arrives_during_the_long_poll(
        self, feed: Feed, make_settings: Callable[..., Any]
    ) -> None:
        feed.will_answer(newest=0)
        async with Backend(feed.talk) as auth, following(make_settings(Settings, auth_url=auth.url)) as known:
            await eventually(lambda: len(feed.asked) == 2)
            feed.will_answer(revoked("session", "s"), newest=1)
            await eventually(lambda: known.cover(a_caller()))

    async def test_heartbeats_keep_the_follower_current(
        self, feed: Feed, make_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared.identity.revocations, "STALE_SECONDS", 60.0)
        feed.will_answer(newest=0)
        heartbeats, lag = 0, 0.0
        async with Backend(feed.talk) as auth, following(make_settings(Settings, auth_url=auth.url)) as known:
            async with asyncio.timeout(30):
                while heartbeats < 5:
                    before, sampled = known.lag_seconds, REGISTRY.get_sample_value("revocation_lag_seconds")
                    assert before <= (sampled or 0.0) <= known.lag_seconds
                    heartbeats += before < lag
                    lag = before
                    await asyncio.sleep(0.01)
            assert known.is_current
            assert len(feed.asked) == 2  # one response, and one pending request

    @pytest.mark.parametrize(
        "nonsense",
        [b"no JSON", b"[]", b"null", b'{"revocations": []}', b'{"revocations": [{}], "next": 1}', None],
    )
    async def test_follower_survives_invalid_responses(
        self, feed: Feed, make_settings: Callable[..., Any], nonsense: bytes | None
    ) -> None:
        feed.answers.append(nonsense)
        feed.will_answer(revoked("session", "s"), newest=1)
        with capture_logs() as lines:
            async with (
                Backend(feed.talk) as auth,
                following(make_settings(Settings, auth_url=auth.url)) as known,
            ):
                await eventually(lambda: known.cover(a_caller()))

        events = [line["event"] for line in lines]
        assert events == ([] if nonsense is None else ["revocations_unreadable"])

    async def test_feed_of_another_database_is_read_from_the_start(
        self, feed: Feed, make_settings: Callable[..., Any]
    ) -> None:
        feed.will_answer(revoked("user", "u", below=7), newest=500)
        async with Backend(feed.talk) as auth, following(make_settings(Settings, auth_url=auth.url)) as known:
            assert known.cover(a_caller(version=6))
            feed.will_answer(revoked("user", "u", below=3), newest=20)  # the response to after=500
            feed.will_answer(revoked("user", "u", below=3), newest=20)
            await eventually(lambda: len(feed.asked) == 4)

            assert not known.cover(a_caller(version=6))
            assert known.cover(a_caller(version=2))
        assert [target.partition("=")[2] for target in feed.asked] == ["0", "500", "0", "20"]

    async def test_silence_is_logged_once_and_the_follower_recovers(
        self, feed: Feed, make_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared.identity.revocations, "STALE_SECONDS", 0.3)
        mute = asyncio.Event()

        async def talk(conversation: Conversation) -> None:
            if mute.is_set():
                await conversation.request()
                await asyncio.sleep(WAIT_SECONDS_MAX)
            await feed.talk(conversation)

        feed.will_answer(newest=0)
        with capture_logs() as lines:
            async with Backend(talk) as auth, following(make_settings(Settings, auth_url=auth.url)) as known:
                mute.set()
                feed.answers.append(None)  # the current connection ends; new ones get no response
                feed.more.set()
                await eventually(lambda: known.state == "stale" and len(lines) == 1)
                asked_before = auth.connections
                await eventually(lambda: auth.connections >= asked_before + 2)
                mute.clear()
                feed.will_answer(revoked("session", "s"), newest=1)
                await eventually(lambda: known.cover(a_caller()) and known.state == "current")

        assert [line["event"] for line in lines] == ["revocations_stale", "revocations_current"]
        assert "ReadTimeout" in lines[0]["reason"]

    async def test_reason_for_the_silence_is_logged(
        self, make_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared.identity.revocations, "FIRST_LOAD_SECONDS", 0.1)

        async def refuses(conversation: Conversation) -> None:
            while await conversation.request():
                await conversation.answer_json({}, "401 Unauthorized")

        with capture_logs() as lines:
            async with Backend(refuses) as auth, following(make_settings(Settings, auth_url=auth.url)):
                await eventually(lambda: lines != [])

        assert [(line["event"], line["reason"]) for line in lines] == [
            ("revocations_stale", "It responded with 401.")
        ]

    async def test_empty_feed_is_current_at_once(self, feed: Feed, make_settings: Callable[..., Any]) -> None:
        async with Backend(feed.talk) as auth, AsyncExitStack() as stack:
            entering = stack.enter_async_context(following(make_settings(Settings, auth_url=auth.url)))
            known, seconds = await stalls.timed(entering)
            assert seconds < 1
            assert known.state == "current"

    async def test_follower_starts_at_once_without_auth(self, make_settings: Callable[..., Any]) -> None:
        async with AsyncExitStack() as stack:
            settings = make_settings(Settings, auth_url="http://127.0.0.1:9")
            known, seconds = await stalls.timed(stack.enter_async_context(following(settings)))
            assert seconds < 1
            assert (known.state, known.is_ready) == ("stale", True)

    async def test_follower_starts_even_if_auth_does_not_respond(
        self, make_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shared.identity.revocations, "STALE_SECONDS", 0.1)

        async def mute(conversation: Conversation) -> None:
            await conversation.reader.read()

        async with Backend(mute) as auth, following(make_settings(Settings, auth_url=auth.url)) as known:
            assert known.state == "stale"


async def test_strict_service_is_not_ready_while_the_feed_is_stale(make_settings: Callable[..., Any]) -> None:
    settings = make_settings(Settings, auth_url="http://127.0.0.1:9", revocation_mode="strict")
    async with running(create_app, settings) as notes:
        ready = await notes.get("/health/ready")
        refused = await notes.get("/notes", headers=bearer(token()))
        greeted = await notes.get("/greeting")

    checks = {"database": "up", "database_disk": "up", "revocations": "stale"}
    assert (ready.status_code, ready.json()["checks"]) == (503, checks)
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert refused.headers["retry-after"] == "1"
    assert greeted.status_code == 200


async def test_service_refuses_a_revoked_token(feed: Feed, make_settings: Callable[..., Any]) -> None:
    feed.will_answer(newest=0)
    good = token(sid="s")
    async with (
        Backend(feed.talk) as auth,
        running(create_app, make_settings(Settings, auth_url=auth.url)) as notes,
    ):
        assert (await notes.get("/notes", headers=bearer(good))).status_code == 200
        feed.will_answer(revoked("session", "s"), newest=1)
        await eventually(lambda: len(feed.asked) == 3)
        response = await notes.get("/notes", headers=bearer(good))

    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
    assert "revoked" in response.json()["detail"]
