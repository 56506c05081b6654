"""The address of the client behind proxies."""

from shared.proxies import household


def test_an_ipv6_household_is_one_client() -> None:
    assert household("2001:db8::1") == household("2001:db8:0:0:ffff::9") == "2001:db8::/64"
    assert household("2001:db8:0:1::1") != household("2001:db8::1")
    assert household("::ffff:1.2.3.4") == household("1.2.3.4") == "1.2.3.4"
