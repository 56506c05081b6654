"""Whatever is sent, the backend sees exactly the requests that the gateway logged as forwarded to it.

Every case runs through a real gateway in front of three backends that parse HTTP differently: one as
strictly as RFC 9112 allows, nginx, and Node at its most lenient. Each case is sent in one piece; if anything
follows its first head, it is sent again with a pause after the head.
"""

import re
from dataclasses import dataclass, field

import pytest

from tests.gateway.corpus import answers, compliance, desync, malformed, smuggling
from tests.gateway.corpus.case import SMUGGLED, Case, get
from tests.gateway.corpus.doors import PROJECT, Account, Answer, Door

DESYNC = desync.cases()
CASES = (*smuggling.CASES, *compliance.CASES, *malformed.CASES, *DESYNC)
# nginx cannot decode these, and responds with 400 before it logs the target.
TOO_ODD_FOR_NGINX = ("MAL-URL-PERCENT-NULL", "percent signs without hexadecimal digits")
AFTERWARDS = b"GET /afterwards HTTP/1.1\r\nHost: a\r\n\r\n"
# Requests of the tier "ambiguous" that are unambiguous once the gateway has rewritten their framing.
CLEAR_BEHIND_THE_GATEWAY = re.compile(
    r"(GET|HEAD) .*(Content-Length: |Transfer-Encoding: chunked)|.*(_|--)(Encoding|Length)", re.DOTALL
)


@dataclass
class Story:
    """The outcome of sending a case in these pieces."""

    pieces: list[bytes]
    answers: list[Answer | None] = field(default_factory=list)
    end: str = ""
    account: Account = field(default_factory=Account)


Stories = dict[str, list[Story]]


@pytest.fixture(scope="package")
def stories(door: Door) -> Stories:
    """Run all cases in turn; read the logs only once, since that is slow."""
    told: Stories = {}
    ends = [door.settle()]
    cases = [case for case in CASES if door.name != "nginx" or case.name not in TOO_ODD_FOR_NGINX]
    for case in cases:
        told[case.name] = [Story(pieces) for pieces in _ways_to_send(case)]
        for story in told[case.name]:
            try:
                _run(case, story, door)
            except (OSError, ValueError, LookupError) as error:  # no response, or an unreadable one
                story.end = repr(error)
            ends.append(door.settle())
    accounts = iter(door.accounts(ends)[1:])
    for case in cases:
        for story in told[case.name]:
            story.account = next(accounts)
    return told


def _ways_to_send(case: Case) -> list[list[bytes]]:
    head, end, body = case.sent.partition(b"\r\n\r\n")
    return [[case.sent], [head + end, body]] if body else [[case.sent]]


def _run(case: Case, story: Story, door: Door) -> None:
    with door.connect() as wire:
        for number, piece in enumerate(story.pieces):
            if number:
                door.settle()
            wire.send(piece)
        for number in range(len(case.statuses)):
            story.answers.append(wire.answer(is_head=case.is_head and number == 0))
        if case.end == "closed":
            story.end = "closed" if wire.rest() == b"" else "more than was expected"
        elif case.end == "waits":
            door.settle()
            story.end = "waits" if wire.is_silent else "not silent"
        else:
            wire.send(AFTERWARDS)
            answer = wire.answer()
            story.end = "open" if answer is not None and answer.seen == "GET /afterwards" else repr(answer)


def test_backend_sees_exactly_what_the_gateway_logged(stories: Stories) -> None:
    """One test for all cases, because pytest takes longer for a test than the gateway for a case."""
    wrong = {
        case.name: differences
        for case in CASES
        for story in stories.get(case.name, ())  # a case that the backend itself refuses has none
        if (differences := _differences(case, story))
    }
    assert wrong == {}
    assert len(stories) >= len(CASES) - len(TOO_ODD_FOR_NGINX)


def _differences(case: Case, story: Story) -> dict[str, tuple[object, object]]:
    """Compare what happened with what the case expects."""
    answers = [answer for answer in story.answers if answer is not None]
    forwarded = [line["method"] for line in story.account.forwarded if line["path"] != "/afterwards"]
    compared: dict[str, tuple[object, object]] = {
        "faults": (story.account.faults, []),
        "statuses": ([answer.status for answer in answers], [*case.statuses]),
        # Otherwise responses are out of order, or belong to other requests.
        "seen": ([answer.seen for answer in answers if answer.status == 200], [*case.forwarded]),
        "end": (story.end, case.end),
        "forwarded": (forwarded, [name.split(" ")[0] for name in case.forwarded]),
    }
    return {name: (found, expected) for name, (found, expected) in compared.items() if found != expected}


def test_malformed_request_gets_a_problem_with_its_code(door: Door) -> None:
    with door.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        answer = wire.answer()
    assert answer is not None
    assert answer.headers["content-type"] == "application/problem+json"
    assert b'"code":"bad_request"' in answer.body
    assert [line["code"] for line in door.account().logged] == ["bad_request"]


@pytest.mark.parametrize("door", ["strict"], indirect=True)
def test_data_after_a_switch_is_never_read_as_a_request(door: Door) -> None:
    """Data sent with the handshake belongs to the new protocol, even if it looks like HTTP."""
    with door.connect() as wire:
        wire.send(get(*compliance.WEBSOCKET, target="/switch") + SMUGGLED.encode())
        answer = wire.answer()
        assert answer is not None
        assert answer.status == 101
        assert wire.raw(len(SMUGGLED)) == SMUGGLED.encode()
    account = door.account()
    assert [(line["path"], line["status"], line["bytes_in"]) for line in account.logged] == [
        ("/switch", 101, len(SMUGGLED))
    ]
    assert [one["target"] for one in account.seen] == ["/switch"]


def test_requests_that_the_guardian_calls_dangerous_are_refused() -> None:
    dangerous = [case for case in DESYNC if _is_dangerous(case)]

    assert len(dangerous) > len(DESYNC) / 4
    assert [case.name for case in dangerous if (case.statuses, case.end) != ((400,), "closed")] == []


def _is_dangerous(case: Case) -> bool:
    request = case.sent.decode("latin-1")
    return case.why == "severe" or (case.why == "ambiguous" and not CLEAR_BEHIND_THE_GATEWAY.match(request))


def test_documentation_states_the_number_of_cases() -> None:
    page = (PROJECT / "docs/http.md").read_text()
    assert f"sends {len(CASES) - len(DESYNC)} cases of our own" in page
    assert f"and {len(DESYNC)} from\nhttp-desync-guardian" in page
    assert f"{len(answers.CASES)} responses of backends" in page
    assert len({case.name for case in CASES}) == len(CASES)
