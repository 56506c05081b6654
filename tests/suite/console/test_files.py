"""Files in the console."""

from pathlib import Path

import pytest

from tests.suite.accounts import PASSWORD, register
from tests.suite.console.conftest import Browser
from tests.suite.console.seeding import PLANTED

pytestmark = pytest.mark.prove


async def test_people_keep_files_and_uploads_survive_breaks(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "large.bin"
    file.write_bytes(bytes(9 * 1024 * 1024))
    async with browser.client() as client:
        person = await register(client)

    seen = await browser.go("files", user=[person.email, PASSWORD], planted=PLANTED, file=str(file))

    assert seen["steps"] == [
        "uploaded a file by keyboard",
        "went elsewhere while a broken upload went on",
        "went on with an upload after a reload",
        "shared a file, and took that back",
        "deleted a file, restored it, and deleted it for good",
        "saw the service fail and come back",
    ]
