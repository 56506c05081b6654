"""The tables of the terminal service: boxes, the terminals in them, and tickets for their sockets."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index, Text
from sqlalchemy.orm import registry
from sqlmodel import BigInteger, Field, SQLModel

from shared.clock import now
from shared.data.database import UtcDateTime, rows_where
from shared.data.tables import NOT_VALIDATED, table_of
from shared.events import EventTables
from shared.ids import new_id

ID_CHARACTERS = 36
TAB_CHARACTERS = 64


class BoxState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"


class TerminalState(StrEnum):
    """State of a terminal; `lost` if its shell vanished without an exit status, as after a reboot."""

    STARTING = "starting"
    OPEN = "open"
    ENDED = "ended"
    LOST = "lost"


LIVE = (TerminalState.STARTING, TerminalState.OPEN)
IS_LIVE = "state IN ('starting', 'open')"


class Table(SQLModel, registry=registry()):
    """Base of this service's tables, with its own metadata."""

    model_config = NOT_VALIDATED


class Box(Table, table=True):
    """The environment in which an account's shells run; one per account."""

    __tablename__ = "boxes"
    __table_args__ = (Index("ix_boxes_state_last_activity", "state", "last_activity"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    owner: str = Field(max_length=ID_CHARACTERS, unique=True)
    backend: str = Field(max_length=20)
    state: str = Field(default=BoxState.RUNNING, max_length=20)
    reason: str | None = Field(default=None, max_length=20)  # why it stopped
    ends_for: str | None = Field(default=None, max_length=20)  # why it is about to be stopped
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    started: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    stopped: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_activity: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Terminal(Table, table=True):
    """A shell. Its output is never stored here, only in its holder."""

    __tablename__ = "terminals"
    __table_args__ = (
        Index("ix_terminals_owner_id", "owner", "id"),
        Index("ix_terminals_ended", "ended"),
        Index("uq_terminals_owner_tab", "owner", "tab", unique=True, **rows_where(IS_LIVE)),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    owner: str = Field(max_length=ID_CHARACTERS)
    tab: str = Field(max_length=TAB_CHARACTERS)
    epoch: str = Field(max_length=ID_CHARACTERS)  # differs for every shell in the same tab
    state: str = Field(default=TerminalState.STARTING, max_length=20)
    exit_code: int | None = None
    exit_signal: int | None = None
    head: int = Field(default=0, sa_type=BigInteger)  # bytes printed by the time it ended
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    ended: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Ticket(Table, table=True):
    """A single-use ticket for a socket, for clients that cannot send a bearer token; stored as a hash."""

    __tablename__ = "tickets"
    __table_args__ = (Index("ix_tickets_expires", "expires"), Index("ix_tickets_owner", "owner"))

    hash: str = Field(primary_key=True, max_length=64)
    owner: str = Field(max_length=ID_CHARACTERS)
    terminal_id: str = Field(max_length=ID_CHARACTERS)
    mode: str = Field(max_length=2)
    caller: str = Field(sa_type=Text)  # the caller as JSON, so that revocations apply
    expires: datetime = Field(sa_type=UtcDateTime)
    share_id: str | None = Field(default=None, max_length=ID_CHARACTERS)  # how the caller got access


class TabList(Table, table=True):
    """The tabs that an account's page shows, in order; most have a terminal."""

    __tablename__ = "tabs"

    owner: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    tabs: str = Field(sa_type=Text)  # a JSON list of ids
    names: str = Field(sa_type=Text)  # a JSON object: the name of each renamed tab
    active: str = Field(max_length=TAB_CHARACTERS)
    version: int = 1
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Share(Table, table=True):
    """An invitation to watch a terminal or to write in it; its token is stored as a hash."""

    __tablename__ = "shares"
    __table_args__ = (
        Index("ix_shares_terminal_id", "terminal_id"),
        Index("ix_shares_owner", "owner"),
        Index("ix_shares_expires", "expires"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    terminal_id: str = Field(max_length=ID_CHARACTERS)
    owner: str = Field(max_length=ID_CHARACTERS)
    guest: str | None = Field(default=None, max_length=ID_CHARACTERS)  # the only account that may use it
    mode: str = Field(max_length=2)
    token_hash: str = Field(max_length=64)
    uses: int = 0
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires: datetime = Field(sa_type=UtcDateTime)


class Trash(Table, table=True):
    """A file or folder that was deleted from a workspace; its content is in the account's area, by id."""

    __tablename__ = "trash"
    __table_args__ = (Index("ix_trash_owner_id", "owner", "id"), Index("ix_trash_until", "until"))

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    owner: str = Field(max_length=ID_CHARACTERS)
    path: str = Field(sa_type=Text)
    kind: str = Field(max_length=10)
    size: int = Field(sa_type=BigInteger)
    deleted: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    until: datetime = Field(sa_type=UtcDateTime)


class DeploymentState(StrEnum):
    """State of a deployment; `lost` if the service died while it ran."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    LOST = "lost"


class Deployment(Table, table=True):
    """A run of the deploy command; `output` is the end of what it printed."""

    __tablename__ = "deployments"
    __table_args__ = (Index("ix_deployments_state_id", "state", "id"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    run_id: int = Field(sa_type=BigInteger, unique=True)
    repository: str = Field(max_length=201)
    branch: str = Field(max_length=255)
    sha: str = Field(max_length=64)
    state: str = Field(default=DeploymentState.WAITING, max_length=20)
    output: str = Field(default="", sa_type=Text)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    ended: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Delivery(Table, table=True):
    """A delivery of GitHub that was received, so that a replay is refused."""

    __tablename__ = "deliveries"
    __table_args__ = (Index("ix_deliveries_received", "received"),)

    id: str = Field(primary_key=True, max_length=64)
    received: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Visibility(StrEnum):
    """Who may open a leased port: its owner, any account, or everybody."""

    PRIVATE = "private"
    MEMBERS = "members"
    PUBLIC = "public"


class VisitKind(StrEnum):
    TICKET = "ticket"
    COOKIE = "cookie"


class Port(Table, table=True):
    """The lease of a port in a box; `host` is the first part of its host name."""

    __tablename__ = "ports"
    __table_args__ = (
        Index("uq_ports_owner_port", "owner", "port", unique=True),
        Index("ix_ports_expires", "expires"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    host: str = Field(max_length=63, unique=True)
    owner: str = Field(max_length=ID_CHARACTERS)
    port: int
    name: str = Field(max_length=30)
    visibility: str = Field(max_length=10)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires: datetime = Field(sa_type=UtcDateTime)


class PortVisit(Table, table=True):
    """A browser's ticket for a port that is not public, or the cookie that it got for it."""

    __tablename__ = "port_visits"
    __table_args__ = (
        Index("ix_port_visits_lease_id", "lease_id"),
        Index("ix_port_visits_visitor", "visitor"),
        Index("ix_port_visits_expires", "expires"),
    )

    hash: str = Field(primary_key=True, max_length=64)
    kind: str = Field(max_length=10)
    lease_id: str = Field(max_length=ID_CHARACTERS)
    visitor: str = Field(max_length=ID_CHARACTERS)
    caller: str = Field(sa_type=Text)  # the caller as JSON, so that revocations apply
    expires: datetime = Field(sa_type=UtcDateTime)


BOXES = table_of(Box)
TERMINALS = table_of(Terminal)
TICKETS = table_of(Ticket)
TABS = table_of(TabList)
SHARES = table_of(Share)
TRASH = table_of(Trash)
DEPLOYMENTS = table_of(Deployment)
DELIVERIES = table_of(Delivery)
PORTS = table_of(Port)
VISITS = table_of(PortVisit)
EVENTS = EventTables(Table.metadata)
