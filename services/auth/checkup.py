"""What `gatehouse doctor` checks for auth: the age of the key that signs tokens."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import inspect
from sqlmodel import select

from services.auth.key_models import SigningKey
from services.auth.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.process.checkup import Finding, good, warning

KEY_AGE_MAX = timedelta(days=365)


def checks(settings: Settings) -> Iterator[Finding]:
    since = _signing_since(settings)
    if since is None:
        return
    age = now() - since
    words = f"has signed tokens for {age.days} days"
    if age > KEY_AGE_MAX:
        yield warning("signing key", words, "Run gatehouse signing-keys rotate.")
    else:
        yield good("signing key", words)


def _signing_since(settings: Settings) -> datetime | None:
    """Return since when the current key signs; None if there is no database or no key yet."""
    file = settings.sqlite_file()
    if file is not None and not file.exists():
        return None
    database = Database(settings.database_url, 1)
    try:
        if not inspect(database.engine).has_table(SigningKey.__tablename__):
            return None
        with database.transaction(write=False) as session:
            usable = (SigningKey.signs_from <= now(), SigningKey.killed == None)  # noqa: E711 - SQL
            query = select(SigningKey).where(*usable).order_by(SigningKey.number.desc())  # type: ignore[attr-defined]
            key = session.exec(query).first()
            return None if key is None else key.signs_from
    finally:
        database.close()
