"""What `gatehouse doctor` checks for the files service."""

from collections.abc import Callable
from typing import Any

from services.files import checkup
from services.files.settings import Settings


def test_the_bucket_must_take_and_return_content(
    make_settings: Callable[..., Settings], s3_settings: dict[str, Any]
) -> None:
    assert [*checkup.checks(make_settings(Settings))] == []
    (found,) = checkup.checks(make_settings(Settings, **s3_settings))
    assert found.state == "good", found.says
    (found,) = checkup.checks(make_settings(Settings, **(s3_settings | {"s3_bucket": "another"})))
    assert found.state == "fault"
    assert "NoSuchBucket" in found.says
