"""Absolute links in responses: their host cannot be chosen by an attacker for someone else."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.requests import Request

from shared.process.public_address import absolute
from tests.shared.notes.app import Settings

Make = Callable[..., Any]
PATH = "/files/shared/1?token=x"


def request(peer: str = "127.0.0.1", **headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(
        {
            "type": "http",
            "scheme": "http",
            "server": ("10.0.0.9", 8084),
            "path": "/",
            "query_string": b"",
            "client": (peer, 50_000),
            "headers": pairs,
        }
    )


def test_link_has_the_host_that_the_client_used(make_settings: Make) -> None:
    given = request(host="files:8084", x_forwarded_proto="https", x_forwarded_host="api.example.com")

    assert absolute(PATH, given, make_settings(Settings)) == f"https://api.example.com{PATH}"


def test_direct_call_gets_its_own_host(make_settings: Make) -> None:
    assert absolute(PATH, request(host="[::1]:8084"), make_settings(Settings)) == f"http://[::1]:8084{PATH}"


def test_forwarded_headers_of_untrusted_peers_are_ignored(make_settings: Make) -> None:
    given = request("203.0.113.7", host="files:8084", x_forwarded_host="evil.example")

    assert absolute(PATH, given, make_settings(Settings)) == f"http://files:8084{PATH}"


def test_public_url_takes_precedence_over_the_headers_of_the_client(make_settings: Make) -> None:
    settings = make_settings(Settings, public_url="https://api.example.com/v2/")
    given = request(host="evil.example", x_forwarded_host="evil.example", x_forwarded_proto="http")

    assert absolute(PATH, given, settings) == f"https://api.example.com/v2{PATH}"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "user@evil.example",
        "evil/x",
        "evil.example#",
        "a, b",
        'evil"><script>',
        "a:99999999",
    ],
)
def test_invalid_host_is_kept_out_of_the_link(make_settings: Make, host: str) -> None:
    assert absolute(PATH, request(host="x", x_forwarded_host=host), make_settings(Settings)) == PATH


def test_scheme_other_than_http_and_https_is_kept_out_of_the_link(make_settings: Make) -> None:
    given = request(host="x", x_forwarded_proto="javascript", x_forwarded_host="x")

    assert absolute(PATH, given, make_settings(Settings)) == PATH


@pytest.mark.parametrize("url", ["example.com", "ftp://example.com", "https://a b", "https://example.com/?x"])
def test_invalid_public_url_is_refused(make_settings: Make, url: str) -> None:
    with pytest.raises(ValidationError, match="must be a URL like"):
        make_settings(Settings, public_url=url)
