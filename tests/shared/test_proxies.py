"""The client's address behind proxies."""

from ipaddress import ip_network

import pytest
from starlette.requests import HTTPConnection

from shared.process.proxies import Proxies, limited_network


def test_addresses_of_one_ipv6_network_count_as_one_client() -> None:
    assert limited_network("2001:db8::1") == limited_network("2001:db8:0:0:ffff::9") == "2001:db8::/64"
    assert limited_network("2001:db8:0:1::1") != limited_network("2001:db8::1")
    assert limited_network("::ffff:1.2.3.4") == limited_network("1.2.3.4") == "1.2.3.4"


@pytest.mark.parametrize(
    "told", ["fe80::1%eth0", "fe80::1%<script>", "::1%", "10.0.0.1%1", "unknown", "", "10.0.0"]
)
def test_forwarded_value_that_is_not_a_plain_address_is_ignored(told: str) -> None:
    proxies = Proxies((ip_network("127.0.0.0/8"),))

    assert proxies.client_address("127.0.0.1", told.encode()) == "127.0.0.1"
    assert proxies.client_address("127.0.0.1", f"{told}, 192.0.2.1".encode()) == "192.0.2.1"
    assert proxies.client_address("127.0.0.1", f"192.0.2.1, {told}".encode()) == "127.0.0.1"


def arriving(peer: str, *lines: str) -> HTTPConnection:
    headers = [(b"x-forwarded-for", line.encode()) for line in lines]
    return HTTPConnection({"type": "http", "client": (peer, 1), "headers": headers})


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        ((), "127.0.0.1"),
        (("192.0.2.1",), "192.0.2.1"),
        (("192.0.2.1, 127.0.0.2",), "192.0.2.1"),
        (("192.0.2.1", "127.0.0.2"), "192.0.2.1"),
        (("203.0.113.9", "192.0.2.1", "127.0.0.2"), "192.0.2.1"),
    ],
)
def test_each_proxy_may_add_a_line_of_its_own(lines: tuple[str, ...], address: str) -> None:
    proxies = Proxies((ip_network("127.0.0.0/8"),))

    assert proxies.address_of(arriving("127.0.0.1", *lines)) == address
    assert proxies.network_of(arriving("127.0.0.1", *lines)) == address


def test_connection_without_an_address_belongs_to_no_network() -> None:
    connection = HTTPConnection({"type": "http", "client": None, "headers": []})

    assert Proxies(()).network_of(connection) == ""
