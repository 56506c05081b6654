"""A test gets a session of PostgreSQL that another has used, in the state of a new one."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.dialects.postgresql.psycopg import _log_notices

from shared.data import postgresql
from tests import connections

SET = """
    SET statement_timeout = 7;
    CREATE TEMPORARY TABLE left_behind ();
    SELECT pg_advisory_lock(7);
    LISTEN news;
    SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
"""
LEFT = """
    SELECT current_setting('statement_timeout'), to_regclass('left_behind'),
      (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
      (SELECT count(*) FROM pg_listening_channels()), current_setting('transaction_read_only')
"""


@pytest.fixture
def engines(postgresql_database: str) -> Iterator[tuple[Engine, Engine]]:
    url = make_url(postgresql_database)
    made = postgresql.create_postgresql(url, 2), postgresql.create_postgresql(url, 2)
    yield made
    for engine in made:
        engine.dispose()


def process(connection: Connection) -> Any:
    return connection.execute(text("SELECT pg_backend_pid()")).scalar_one()


def test_session_is_used_again_without_what_the_last_test_has_set(engines: tuple[Engine, Engine]) -> None:
    first, second = engines
    with first.connect() as connection:
        new = tuple(connection.execute(text(LEFT)).one())
        driver: Any = connection.connection.driver_connection
        driver.execute(SET)
        connection.commit()
        assert tuple(connection.execute(text(LEFT)).one()) == ("7ms", "left_behind", 1, 1, "on")
        mine = process(connection)
        connection.commit()
        driver.isolation_level = 4
    first.dispose()
    with second.connect() as connection:
        driver = connection.connection.driver_connection
        assert (process(connection), driver.isolation_level, driver.autocommit) == (mine, None, False)
        assert tuple(connection.execute(text(LEFT)).one()) == new
        assert driver._notice_handlers == [_log_notices]


def test_session_has_no_prepared_statements_whose_plans_the_last_test_has_made(
    engines: tuple[Engine, Engine],
) -> None:
    for engine in engines * 2:
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute("SELECT 7", prepare=True)
            statements = connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one()
        engine.dispose()

        assert statements == 1


def test_invalidated_session_is_not_used_again(
    engines: tuple[Engine, Engine], postgresql_database: str
) -> None:
    first, second = engines
    with first.connect() as connection:
        mine = process(connection)
        connection.invalidate()
    first.dispose()

    assert mine not in connections.free_ones(postgresql_database)
    with second.connect() as connection:
        assert process(connection) != mine


def test_session_that_the_server_has_ended_is_replaced(
    engines: tuple[Engine, Engine], postgresql_database: str
) -> None:
    first, second = engines
    with first.connect() as connection:
        mine = process(connection)
    first.dispose()
    assert mine in connections.free_ones(postgresql_database)
    with psycopg.connect(postgresql_database, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [mine])

    with second.connect() as connection:
        assert process(connection) != mine
