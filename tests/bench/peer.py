"""The peer of `make bench`: the same endpoints, written the usual way with FastAPI and SQLModel.

It follows the tutorials of both: a session per request as a dependency, a token check as a dependency,
response models, plain `def` endpoints. SQLite is configured like ours, so only the framework differs. Orders
can be placed in two ways: the order alone, or with everything else that our orders service writes.
"""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import uuid4

import bcrypt
import jwt
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import JSON, event
from sqlmodel import Field, Session, SQLModel, create_engine, select

SECRET = os.environ["JWT_SECRET"]
PORT = int(os.environ["PORT"])
BCRYPT_COST = int(os.environ.get("BCRYPT_COST", "12"))

engine = create_engine(os.environ["DATABASE_URL"], connect_args={"check_same_thread": False})


@event.listens_for(engine, "connect")
def set_pragmas(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA busy_timeout = 10000")


class User(SQLModel, table=True):
    id: str = Field(default_factory=lambda: str(uuid4()), primary_key=True)
    email: str = Field(unique=True)
    password_hash: str
    first_name: str | None = None
    last_name: str | None = None
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))


class UserOut(SQLModel):
    id: str
    email: str
    first_name: str | None
    last_name: str | None
    created: datetime


class Credentials(SQLModel):
    email: str
    password: str


class LoggedIn(SQLModel):
    user: UserOut
    token: str


class OrderBase(SQLModel):
    product_name: str = Field(max_length=200)
    quantity: int = Field(ge=1)
    total_price: Decimal = Field(ge=0, max_digits=12, decimal_places=2)


class Order(OrderBase, table=True):
    id: str = Field(default_factory=lambda: str(uuid4()), primary_key=True)
    user_id: str = Field(index=True)
    currency: str = "USD"
    status: str = "pending"
    version: int = 1
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    updated: datetime = Field(default_factory=lambda: datetime.now(UTC))


class OrderStep(SQLModel, table=True):
    id: str = Field(default_factory=lambda: str(uuid4()), primary_key=True)
    order_id: str = Field(foreign_key="order.id", index=True)
    from_status: str | None = None
    status: str
    by: str
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))


class OutboxEvent(SQLModel, table=True):
    number: int | None = Field(default=None, primary_key=True)
    topic: str
    key: str
    body: dict[str, Any] = Field(sa_type=JSON)
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    sent: datetime | None = Field(default=None, index=True)


class AuditRecord(SQLModel, table=True):
    id: str = Field(default_factory=lambda: str(uuid4()), primary_key=True)
    user_id: str = Field(index=True)
    actor: str
    action: str
    resource: str
    ip: str | None
    user_agent: str | None
    outcome: str
    status: int
    request_id: str
    details: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))


class OrderOut(OrderBase):
    id: str
    user_id: str
    currency: str
    status: str
    version: int
    created: datetime
    updated: datetime


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


def get_claims(credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> dict[str, Any]:
    try:
        return jwt.decode(
            credentials.credentials, SECRET, algorithms=["HS256"], audience="gatehouse", issuer="gatehouse"
        )
    except jwt.PyJWTError as error:
        raise HTTPException(401, "invalid token") from error


SessionDep = Annotated[Session, Depends(get_session)]
ClaimsDep = Annotated[dict[str, Any], Depends(get_claims)]

app = FastAPI()


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "healthy", "timestamp": datetime.now(UTC).isoformat()}


@app.post("/auth/register", status_code=201)
def register(body: Credentials, session: SessionDep) -> LoggedIn:
    digest = bcrypt.hashpw(body.password.encode(), bcrypt.gensalt(BCRYPT_COST)).decode()
    user = User(email=body.email, password_hash=digest)
    session.add(user)
    session.commit()
    session.refresh(user)
    return LoggedIn(user=UserOut.model_validate(user.model_dump()), token=issue(user))


@app.post("/auth/login")
def login(body: Credentials, session: SessionDep) -> LoggedIn:
    user = session.exec(select(User).where(User.email == body.email)).first()
    if user is None or not bcrypt.checkpw(body.password.encode(), user.password_hash.encode()):
        raise HTTPException(401, "invalid credentials")
    return LoggedIn(user=UserOut.model_validate(user.model_dump()), token=issue(user))


@app.get("/users/me")
def me(claims: ClaimsDep, session: SessionDep) -> UserOut:
    user = session.get(User, claims["sub"])
    if user is None:
        raise HTTPException(404, "not found")
    return UserOut.model_validate(user.model_dump())


@app.get("/orders", response_model=list[OrderOut])
def list_orders(claims: ClaimsDep, session: SessionDep, limit: int = 50) -> Any:
    statement = (
        select(Order).where(Order.user_id == claims["sub"]).order_by(Order.created.desc()).limit(limit)  # type: ignore[attr-defined]
    )
    return session.exec(statement).all()


@app.post("/orders", response_model=OrderOut, status_code=201)
def place_order(body: OrderBase, claims: ClaimsDep, session: SessionDep) -> Any:
    order = Order(**body.model_dump(), user_id=claims["sub"])
    session.add(order)
    session.commit()
    session.refresh(order)
    return order


@app.post("/orders/recorded", response_model=OrderOut, status_code=201)
def place_recorded_order(body: OrderBase, claims: ClaimsDep, session: SessionDep, request: Request) -> Any:
    """Place an order with its history, an event and an audit record, in one transaction."""
    order = Order(**body.model_dump(), user_id=claims["sub"])
    event_body = order.model_dump(mode="json")
    session.add_all(
        [
            order,
            OrderStep(order_id=order.id, status=order.status, by=order.user_id),
            OutboxEvent(topic="order.placed", key=order.id, body=event_body),
            AuditRecord(
                user_id=order.user_id,
                actor=f"user:{order.user_id}",
                action="PLACE_ORDER",
                resource=order.id,
                ip=request.client.host if request.client else None,
                user_agent=request.headers.get("user-agent"),
                outcome="success",
                status=201,
                request_id=request.headers.get("x-request-id") or str(uuid4()),
            ),
        ]
    )
    session.commit()
    session.refresh(order)
    return order


def issue(user: User) -> str:
    now = int(time.time())
    claims = {"sub": user.id, "iss": "gatehouse", "aud": "gatehouse", "iat": now, "exp": now + 3600}
    return jwt.encode(claims, SECRET, algorithm="HS256", headers={"typ": "at+jwt"})


if __name__ == "__main__":
    SQLModel.metadata.create_all(engine)
    uvicorn.run(app, port=PORT, log_level="warning", access_log=False)
