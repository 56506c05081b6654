"""Devices are named after their User-Agent."""

import pytest

from services.auth.models import LoginSession
from services.auth.sessions.user_agents import device_named
from shared.data.tables import table_of

KIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {KIT} Chrome/140.0 Safari/537.36", "Chrome on Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {KIT} Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        (f"Mozilla/5.0 (Linux; Android 15) {KIT} Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        (f"{PHONE} {KIT} Version/18.0 Mobile/15E148 Safari/604.1", "Safari on iPhone"),
        (f"{MAC} {KIT} Version/18.0 Safari/605.1.15", "Safari on macOS"),
        ("curl/8.5.0", "curl"),
        ("python-httpx/0.28.1", "python-httpx"),
        ("Mozilla/5.0 (Linux)", "Linux"),
        ("Mozilla/5.0", None),
        ("<script>alert(1)</script>", None),
        ("", None),
        (None, None),
    ],
)
def test_device_is_named_by_browser_and_system(header: str | None, name: str | None) -> None:
    assert device_named(header) == name


@pytest.mark.parametrize("header", ["x" * 10_000, "x" * 31 + "/1", "Firefox/" * 1000, "Version/1 " * 1000])
def test_name_of_any_device_fits_its_column(header: str) -> None:
    limit = table_of(LoginSession).c.device.type.length  # type: ignore[attr-defined]

    assert len(device_named(header) or "") <= limit
