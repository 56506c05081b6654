"""The tables of the inventory service: AWS accounts, what was read from them, and the syncs that read it."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index, Text
from sqlmodel import BigInteger, Field

from services.inventory.advice_models import AdviceRow, AwsChange, Load, Price
from services.inventory.ldap_models import LdapServer, Person
from services.inventory.tables import ID, Table
from shared.clock import now
from shared.data.database import UtcDateTime, rows_where
from shared.data.tables import table_of
from shared.events import EventTables
from shared.http.idempotency import IdempotencyStore
from shared.ids import new_id
from shared.lists.search import Part, SearchIndex
from shared.reports.files import report_parts
from shared.work.jobs import JobTables

PRESENT, GONE = "present", "gone"
LISTED_BY = "presence state running_mode user_name directory_id bundle_id account region".split()


class AccountStatus(StrEnum):
    PENDING = "pending"  # neither tested nor read yet
    CONNECTED = "connected"
    LIMITED = "limited"  # some permissions are missing
    ERROR = "error"
    DISABLED = "disabled"  # by an admin: left out of syncs


class SyncState(StrEnum):
    """How a sync ended; until then its state is that of its job."""

    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"


class PartState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Account(Table, table=True):
    """An AWS account, accessed with its own keys or the service's, directly or through a role."""

    __tablename__ = "aws_accounts"
    __table_args__ = (
        Index("ix_aws_accounts_name", "name", unique=True, **rows_where("deleted IS NULL")),
        Index("ix_aws_accounts_live", "id", **rows_where("deleted IS NULL")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID)
    name: str = Field(max_length=100)
    account_number: str | None = Field(default=None, max_length=12)
    role_arn: str | None = Field(default=None, max_length=2048)
    external_id: str | None = Field(default=None, max_length=1224)
    access_key_id: str | None = Field(default=None, max_length=128)
    secret: str | None = Field(default=None, sa_type=Text)  # sealed
    endpoint_url: str | None = Field(default=None, max_length=300)
    regions: str = Field(sa_type=Text)  # a JSON list
    is_default: bool = False
    status: str = Field(default=AccountStatus.PENDING, max_length=20)
    status_detail: str = Field(default="[]", sa_type=Text)  # a JSON list of sentences
    last_sync: datetime | None = Field(default=None, sa_type=UtcDateTime)
    deleted: datetime | None = Field(default=None, sa_type=UtcDateTime)
    version: int = 1
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)

    def touch(self) -> None:
        self.version += 1
        self.updated = now()


class Directory(Table, table=True):
    __tablename__ = "directories"

    account: str = Field(primary_key=True, max_length=ID)
    region: str = Field(primary_key=True, max_length=30)
    directory_id: str = Field(primary_key=True, max_length=60)
    name: str | None = Field(default=None, max_length=300)
    alias: str | None = Field(default=None, max_length=300)
    type: str | None = Field(default=None, max_length=60)
    state: str | None = Field(default=None, max_length=60)
    seen: datetime = Field(sa_type=UtcDateTime)


class Workspace(Table, table=True):
    """A WorkSpace as AWS last described it. AWS's values are stored unchanged, even unknown ones."""

    __tablename__ = "workspaces"
    __table_args__ = (
        Index("ix_workspaces_workspace_id", "workspace_id", unique=True),
        Index("ix_workspaces_counts", "presence", "state", "running_mode"),
        Index("ix_workspaces_seen", "account", "region", "last_seen", **rows_where("gone IS NULL")),
        *(Index(f"ix_workspaces_{name}_id", name, "id") for name in LISTED_BY),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID)
    workspace_id: str = Field(max_length=60)
    account: str = Field(max_length=ID)
    region: str = Field(max_length=30)
    directory_id: str = Field(max_length=60)
    user_name: str = Field(max_length=300)
    ip_address: str | None = Field(default=None, max_length=60)
    state: str = Field(max_length=60)
    previous_state: str | None = Field(default=None, max_length=60)
    state_changed: datetime = Field(sa_type=UtcDateTime)
    error: str | None = Field(default=None, max_length=500)
    bundle_id: str | None = Field(default=None, max_length=60)
    bundle_name: str | None = Field(default=None, max_length=300)
    subnet_id: str | None = Field(default=None, max_length=60)
    computer_name: str | None = Field(default=None, max_length=300)
    running_mode: str | None = Field(default=None, max_length=60)
    auto_stop_minutes: int | None = None
    root_gib: int | None = None
    user_gib: int | None = None
    compute_type: str | None = Field(default=None, max_length=60)
    os: str | None = Field(default=None, max_length=60)
    protocols: str = Field(default="[]", sa_type=Text)  # a JSON list
    encrypted_root: bool = False
    encrypted_user: bool = False
    connection_state: str | None = Field(default=None, max_length=60)
    last_connection: datetime | None = Field(default=None, sa_type=UtcDateTime)
    tags: str | None = Field(default=None, sa_type=Text)  # a JSON object; null if never read
    first_seen: datetime = Field(sa_type=UtcDateTime)
    last_seen: datetime = Field(sa_type=UtcDateTime)
    gone: datetime | None = Field(default=None, sa_type=UtcDateTime)
    presence: str = Field(default=PRESENT, max_length=10)  # derived from `gone`, for the search index
    search: str = Field(default="", sa_type=Text)
    version: int = 1
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class WorkspaceTag(Table, table=True):
    __tablename__ = "workspace_tags"
    __table_args__ = (Index("ix_workspace_tags_key_value", "key", "value", "id"),)

    id: str = Field(primary_key=True, max_length=ID)  # workspaces.id
    key: str = Field(primary_key=True, max_length=128)
    value: str = Field(max_length=256)


class WorkspaceChange(Table, table=True):
    """One entry of a WorkSpace's history; never updated."""

    __tablename__ = "workspace_changes"
    __table_args__ = (Index("ix_workspace_changes_workspace_id_id", "workspace_id", "id"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID)
    workspace_id: str = Field(max_length=60)
    at: datetime = Field(sa_type=UtcDateTime)
    field: str = Field(max_length=60)
    before: str | None = Field(default=None, sa_type=Text)
    after: str | None = Field(default=None, sa_type=Text)


class TrailEvent(Table, table=True):
    """A call to the WorkSpaces API as recorded by CloudTrail; ids sort by the time of the call."""

    __tablename__ = "trail_events"
    __table_args__ = (
        Index("ix_trail_events_event_id", "event_id", unique=True),
        Index("ix_trail_events_name_id", "name", "id"),
        Index("ix_trail_events_username_id", "username", "id"),
    )

    id: str = Field(primary_key=True, max_length=ID)
    event_id: str = Field(max_length=100)
    account: str = Field(max_length=ID)
    region: str = Field(max_length=30)
    name: str = Field(max_length=100)
    at: datetime = Field(sa_type=UtcDateTime)
    source: str | None = Field(default=None, max_length=100)
    username: str | None = Field(default=None, max_length=300)
    source_ip: str | None = Field(default=None, max_length=100)
    error_code: str | None = Field(default=None, max_length=200)
    workspaces: str = Field(default="[]", sa_type=Text)  # a JSON list of ids
    request: str = Field(default="null", sa_type=Text)  # JSON
    response: str = Field(default="null", sa_type=Text)
    identity: str = Field(default="null", sa_type=Text)


class TrailWorkspace(Table, table=True):
    """A WorkSpace that a CloudTrail event names."""

    __tablename__ = "trail_workspaces"

    workspace_id: str = Field(primary_key=True, max_length=60)
    id: str = Field(primary_key=True, max_length=ID)  # trail_events.id


class Cost(Table, table=True):
    """The cost of one usage type on one day, for one WorkSpace if AWS names it; ids sort by day.

    Amounts are whole units and a fraction in 10^-12, both integers, so that databases sum them exactly.
    """

    __tablename__ = "costs"
    __table_args__ = (
        Index("ix_costs_day", "day"),
        Index("ix_costs_account_day", "account", "day"),
        Index("ix_costs_workspace_id_id", "workspace_id", "id"),
        Index("ix_costs_usage_type_id", "usage_type", "id"),
        Index("ix_costs_service_id", "service", "id"),
    )

    id: str = Field(primary_key=True, max_length=ID)
    account: str = Field(max_length=ID)
    day: str = Field(max_length=10)  # in UTC, as AWS bills
    workspace_id: str = Field(max_length=60)  # empty if AWS gives no resource
    service: str = Field(max_length=100)
    usage_type: str = Field(max_length=200)
    region: str = Field(max_length=30)
    amount_whole: int = Field(sa_type=BigInteger)
    amount_part: int = Field(sa_type=BigInteger)
    quantity_whole: int = Field(sa_type=BigInteger)
    quantity_part: int = Field(sa_type=BigInteger)
    unit: str = Field(max_length=30)
    currency: str = Field(max_length=10)
    estimated: bool
    pulled: datetime = Field(sa_type=UtcDateTime)


class CostDay(Table, table=True):
    """The sum of the costs of one account on one day; its `rows`, and how many of them are `estimated`."""

    __tablename__ = "cost_days"

    day: str = Field(primary_key=True, max_length=10)
    account: str = Field(primary_key=True, max_length=ID)
    currency: str = Field(primary_key=True, max_length=10)
    amount_whole: int = Field(sa_type=BigInteger)
    amount_part: int = Field(sa_type=BigInteger)
    rows: int
    estimated: int


class WorkspaceCount(Table, table=True):
    """The number of WorkSpaces in a state and a running mode, which is empty if it is unknown."""

    __tablename__ = "workspace_counts"

    presence: str = Field(primary_key=True, max_length=10)
    state: str = Field(primary_key=True, max_length=60)
    running_mode: str = Field(primary_key=True, max_length=60)
    number: int


class HourSum(Table, table=True):
    """The sum of the hours of one month that come from one source, in millionths."""

    __tablename__ = "hour_sums"

    month: str = Field(primary_key=True, max_length=7)
    source: str = Field(primary_key=True, max_length=10)
    number: int  # of WorkSpaces
    hours: int = Field(sa_type=BigInteger)


class UsageDay(Table, table=True):
    """How a WorkSpace was used on one day; days without a connection have no row."""

    __tablename__ = "usage_daily"
    __table_args__ = (Index("ix_usage_daily_day", "day"),)

    workspace_id: str = Field(primary_key=True, max_length=60)
    day: str = Field(primary_key=True, max_length=10)  # in UTC
    connected_minutes: int
    sessions: int  # that began on this day
    session_hours: int  # hours of these sessions, each rounded up
    clock_hours: int  # clock hours in which it ran
    complete: bool  # the day was over when it was read


class UsageMonth(Table, table=True):
    """How a WorkSpace was used in one month; ids sort by month. `source` says where `hours` come from."""

    __tablename__ = "usage_monthly"
    __table_args__ = (
        Index("ix_usage_monthly_workspace_id_id", "workspace_id", "id"),
        Index("ix_usage_monthly_month", "month", "source", "hours"),
    )

    id: str = Field(primary_key=True, max_length=ID)
    workspace_id: str = Field(max_length=60)
    account: str = Field(max_length=ID)
    month: str = Field(max_length=7)
    source: str = Field(max_length=10)
    hours: int = Field(sa_type=BigInteger)  # in millionths
    billed: int | None = Field(default=None, sa_type=BigInteger)  # hours on the bill, in millionths
    days: int | None = None  # with a connection; this and the following are null without metrics
    connected_minutes: int | None = None
    sessions: int | None = None
    session_hours: int | None = None
    clock_hours: int | None = None
    first_day: str | None = Field(default=None, max_length=10)  # the days of which metrics were read
    last_day: str | None = Field(default=None, max_length=10)
    updated: datetime = Field(sa_type=UtcDateTime)


class Sync(Table, table=True):
    """One sync; it has the same id as its job."""

    __tablename__ = "syncs"
    __table_args__ = (Index("ix_syncs_by_id", "by", "id"),)

    id: str = Field(primary_key=True, max_length=ID)
    kind: str = Field(max_length=20)
    trigger: str = Field(max_length=20)
    by: str | None = Field(default=None, max_length=ID)
    state: str | None = Field(default=None, max_length=20)
    seen: int | None = None  # totals over all parts, set when the sync ends
    changed: int | None = None
    gone: int | None = None
    api_calls: int | None = None
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    finished: datetime | None = Field(default=None, sa_type=UtcDateTime)


class SyncPart(Table, table=True):
    """One source of one account and region within a sync, with the cursor to resume from."""

    __tablename__ = "sync_parts"

    sync: str = Field(primary_key=True, max_length=ID)
    number: int = Field(primary_key=True)
    account: str = Field(max_length=ID)
    region: str = Field(max_length=30)
    source: str = Field(max_length=20)
    state: str = Field(default=PartState.WAITING, max_length=20)
    cursor: str | None = Field(default=None, sa_type=Text)
    seen: int = 0
    changed: int = 0
    gone: int = 0
    calls: int = 0
    throttled: int = 0
    missing: str = Field(default="[]", sa_type=Text)  # a JSON list of permissions that were denied
    error_code: str | None = Field(default=None, max_length=100)
    error: str | None = Field(default=None, max_length=500)
    started: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Scan(Table, table=True):
    """When the last complete scan of a source in an account and region began."""

    __tablename__ = "scans"

    account: str = Field(primary_key=True, max_length=ID)
    region: str = Field(primary_key=True, max_length=30)
    source: str = Field(primary_key=True, max_length=20)
    completed: datetime = Field(sa_type=UtcDateTime)


ACCOUNTS = table_of(Account)
DIRECTORIES = table_of(Directory)
WORKSPACES = table_of(Workspace)
TAGS = table_of(WorkspaceTag)
CHANGES = table_of(WorkspaceChange)
TRAIL = table_of(TrailEvent)
TRAIL_WORKSPACES = table_of(TrailWorkspace)
USAGE_DAYS = table_of(UsageDay)
USAGE_MONTHS = table_of(UsageMonth)
WORKSPACE_COUNTS = table_of(WorkspaceCount)
HOUR_SUMS = table_of(HourSum)
PRICES = table_of(Price)
LDAP_SERVERS = table_of(LdapServer)
PEOPLE = table_of(Person)
AWS_CHANGES = table_of(AwsChange)
LOADS = table_of(Load)
ADVICE = table_of(AdviceRow)
COSTS = table_of(Cost)
COST_DAYS = table_of(CostDay)
SYNCS = table_of(Sync)
PARTS = table_of(SyncPart)
SCANS = table_of(Scan)
IDEMPOTENCY = IdempotencyStore(Table.metadata)
EVENTS = EventTables(Table.metadata)
JOBS = JobTables(Table.metadata)
JOB_ROWS = JOBS.jobs
REPORT_PARTS = report_parts(Table.metadata)
SEARCH = SearchIndex(WORKSPACES, {"presence": Part.START, "search": Part.ALL})
