"""Helpers of the auth tests."""

from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import Table, select, update
from sqlmodel import SQLModel

from services.auth.models import ACCOUNTS
from shared.data.database import Database
from shared.data.tables import table_of
from shared.ids import new_id

PASSWORD = "password123"


def a_name() -> str:
    return f"user-{new_id()[-12:]}"


async def register(auth: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """Register a new account, and return the response body."""
    body = {"email": f"{a_name()}@example.com", "password": PASSWORD} | fields
    response = await auth.post("/auth/register", json=body)
    assert response.status_code == 201, response.text
    registered: dict[str, Any] = response.json()
    return registered


async def login(auth: httpx.AsyncClient, name: str, password: str = PASSWORD) -> httpx.Response:
    kind = "email" if "@" in name else "username"
    return await auth.post("/auth/login", json={kind: name, "password": password})


async def refresh(auth: httpx.AsyncClient, refresh_token: str) -> httpx.Response:
    return await auth.post("/auth/refresh", json={"refresh_token": refresh_token})


def let_time_pass(database_url: str, model: type[SQLModel], column: str, passed: timedelta) -> None:
    """Move a timestamp of every row into the past, as waiting would."""
    table = table_of(model)
    database = Database(database_url, pool_size=1)
    with database.transaction() as session:
        for row in session.connection().execute(select(table)).mappings().all():
            if row[column] is not None:
                change = update(table).where(table.c[0] == row[table.c[0]])
                session.connection().execute(change.values({column: row[column] - passed}))
    database.close()


def set_account(database_url: str, username: str, **values: Any) -> None:
    """Change an account directly in the database."""
    database = Database(database_url, pool_size=1)
    with database.transaction() as session:
        changed = update(ACCOUNTS).where(ACCOUNTS.c.username == username)
        session.connection().execute(changed.values(**values))
    database.close()


def rows(database_url: str, model: type[SQLModel] | Table) -> list[dict[str, Any]]:
    table = model if isinstance(model, Table) else table_of(model)
    database = Database(database_url, pool_size=1)
    with database.transaction(write=False) as session:
        found = [dict(row) for row in session.connection().execute(select(table)).mappings()]
    database.close()
    return found
