"""Migration 0003, which copies tables on SQLite, keeps their rows, votes and checks."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError

from services.support.models import RATINGS, REVIEWS, VOTES
from shared.clock import now
from shared.data.database import Database
from shared.data.migrate import upgrade
from tests import lists

MIGRATIONS = Path("services/support/migrations")


def test_wider_columns_keep_reviews_with_their_votes_and_the_check_of_ratings(
    database_url: str, tmp_path: Path
) -> None:
    before = tmp_path / "support" / "migrations"
    before.mkdir(parents=True)
    for file in sorted(MIGRATIONS.glob("000[12]_*.py")):
        shutil.copy(file, before)
    upgrade(database_url, before)
    review = lists._review(1)
    vote = {"review_id": review["id"], "user_id": review["user_id"], "created": now()}
    key = {"resource_type": "product", "resource_id": review["resource_id"]}
    stars = {f"n{one}": 0 for one in range(1, 6)}
    with closing(Database(database_url, pool_size=1)) as database, database.transaction() as session:
        for table, row in ((REVIEWS, review), (VOTES, vote), (RATINGS, {**key, **stars})):
            session.connection().execute(insert(table), [row])
    upgrade(database_url, MIGRATIONS)

    with closing(Database(database_url, pool_size=1)) as database:
        with database.transaction() as session:
            execute = session.connection().execute
            if database.is_sqlite:
                made = execute(text("SELECT sql FROM sqlite_master WHERE name = 'ratings'")).scalar_one()
                assert made.count("ck_ratings_positive") == 1
            assert execute(select(REVIEWS.c.resource_id)).scalars().all() == [review["resource_id"]]
            assert execute(select(VOTES.c.user_id)).scalars().all() == [review["user_id"]]
            execute(text("DELETE FROM reviews"))
            assert execute(select(VOTES.c.user_id)).all() == [], "votes still go with their review"
        with pytest.raises(IntegrityError, match="ck_ratings_positive"), database.transaction() as session:
            session.connection().execute(text("UPDATE ratings SET n1 = -1"))
