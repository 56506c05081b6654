"""Connections to PostgreSQL."""

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext

from shared.data import pausing

CACHED_STATEMENTS = 500
# libpq's timeouts: for connecting, for idle connections, and for unacknowledged data.
_WATCHED = {
    "connect_timeout": 4,  # seconds
    "keepalives": 1,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 9_000,  # ms
}


def server_of(url: URL) -> tuple[str, str]:
    """Return host and port of the server, for messages; several of each are separated by commas."""
    host, port = url.host or url.query.get("host"), url.port or url.query.get("port")
    return str(host or "localhost"), str(port or 5432)


def create_postgresql(url: URL, pool_size: int) -> Engine:
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_use_lifo=True,  # keeps a few connections warm
        pool_pre_ping=True,
        pool_recycle=1800,
        query_cache_size=CACHED_STATEMENTS,
        hide_parameters=True,  # errors are logged, and a parameter may be a password hash
        connect_args=postgresql_options(url),
    )

    @event.listens_for(engine, "handle_error")
    def replace_read_only(failure: ExceptionContext) -> None:
        # A session keeps this setting, so the next request gets a new session and may write again.
        if getattr(failure.original_exception, "sqlstate", None) == pausing.READ_ONLY:
            failure.is_disconnect, failure.invalidate_pool_on_disconnect = True, False

    return engine


def postgresql_options(url: URL) -> dict[str, str]:
    """Return libpq's parameters for every connection; those in the URL take precedence.

    A host that vanishes silently is given up after 10 s, but not one that only executes a long statement.
    random_page_cost is set for solid-state disks: with the default, for spinning disks, the planner would
    read list pages by scanning the primary key past the rows of other accounts.
    """
    chosen = {name: value for name, value in url.query.items() if isinstance(value, str)}
    options = "-c timezone=UTC -c statement_timeout=30000 -c random_page_cost=1.1"
    return {
        **{name: str(number) for name, number in _WATCHED.items() if name not in chosen},
        "options": f"{options} {chosen.get('options', '')}".strip(),
    }
