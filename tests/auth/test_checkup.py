"""What `gatehouse doctor` checks for auth."""

from collections.abc import Callable
from datetime import timedelta

from services.auth import checkup
from services.auth.key_models import SigningKey
from services.auth.keys.signing_keys import SigningKeys
from services.auth.settings import Settings
from shared.data.database import Database
from shared.testing import TEST_INTERNAL_SECRET


def test_an_old_signing_key_is_a_warning(make_settings: Callable[..., Settings], database_url: str) -> None:
    settings = make_settings(
        Settings, database_url=database_url, jwt_secret=None, key_secret=TEST_INTERNAL_SECRET
    )
    assert [*checkup.checks(settings)] == []
    database = Database(database_url)
    SigningKeys(settings, database).prepare()
    assert [found.state for found in checkup.checks(settings)] == ["good"]

    with database.transaction() as session:
        key = session.get(SigningKey, 1)
        assert key is not None
        key.signs_from -= timedelta(days=400)
    assert [found.remedy for found in checkup.checks(settings)] == ["Run gatehouse signing-keys rotate."]
    database.close()
