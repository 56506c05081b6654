"""The response body of the status."""

from datetime import datetime
from typing import Literal

from shared.http.schemas import Output, example


class DatabaseStats(Output):
    open_connections: int
    in_use: int
    idle: int


class DatabaseOut(Output):
    healthy: bool
    stats: DatabaseStats


class DependencyOut(Output):
    """`healthy` is null for what is not used."""

    healthy: bool | None
    note: str | None


class ServicesOut(Output):
    database: DatabaseOut
    redis: DependencyOut
    nats: DependencyOut


class AppOut(Output):
    name: str
    version: str
    env: str


class StatusOut(Output):
    """The state of the dependencies; `status` is healthy or degraded."""

    model_config = example(
        {
            "status": "healthy",
            "timestamp": "2026-01-31T12:00:00Z",
            "services": {
                "database": {"healthy": True, "stats": {"open_connections": 2, "in_use": 0, "idle": 2}},
                "redis": {"healthy": None, "note": "not used"},
                "nats": {"healthy": None, "note": "not used"},
            },
            "app": {"name": "Gatehouse", "version": "1.0.0", "env": "production"},
        }
    )

    status: str
    timestamp: datetime
    services: ServicesOut
    app: AppOut


class HealthOut(Output):
    model_config = example({"status": "healthy", "time": "2026-01-31T12:00:00Z"})

    status: Literal["healthy"] = "healthy"
    time: datetime
