"""The client's address behind proxies."""

from ipaddress import ip_network

import pytest

from shared.process.proxies import Proxies, household


def test_addresses_of_one_ipv6_network_count_as_one_client() -> None:
    assert household("2001:db8::1") == household("2001:db8:0:0:ffff::9") == "2001:db8::/64"
    assert household("2001:db8:0:1::1") != household("2001:db8::1")
    assert household("::ffff:1.2.3.4") == household("1.2.3.4") == "1.2.3.4"


@pytest.mark.parametrize(
    "told", ["fe80::1%eth0", "fe80::1%<script>", "::1%", "10.0.0.1%1", "unknown", "", "10.0.0"]
)
def test_forwarded_value_that_is_not_a_plain_address_is_ignored(told: str) -> None:
    proxies = Proxies((ip_network("127.0.0.0/8"),))

    assert proxies.client_address("127.0.0.1", told.encode()) == "127.0.0.1"
    assert proxies.client_address("127.0.0.1", f"{told}, 192.0.2.1".encode()) == "192.0.2.1"
    assert proxies.client_address("127.0.0.1", f"192.0.2.1, {told}".encode()) == "127.0.0.1"
