"""Application factory of the inventory service."""

from functools import partial

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.inventory import changing
from services.inventory.applying import Applier
from services.inventory.ask.model import ChatModel, Model
from services.inventory.aws import Aws
from services.inventory.backtest import Backtests
from services.inventory.dashboard import Dashboard
from services.inventory.demo.running import Demo, demo_settings
from services.inventory.errors import NothingToSync, SyncRunning
from services.inventory.events import CONSUMES
from services.inventory.ldap import reading
from services.inventory.ldap.reading import DirectoryReader
from services.inventory.ldap.servers import LdapSecrets
from services.inventory.models import ACCOUNTS, EVENTS, IDEMPOTENCY, JOBS, LDAP_SERVERS, REPORT_PARTS
from services.inventory.reports import SOURCES
from services.inventory.retention import EVERY_SECONDS, forget_old
from services.inventory.routes import OPERATIONS
from services.inventory.settings import Settings
from services.inventory.sync import syncs
from services.inventory.sync.syncer import Syncer
from shared.data.database import Database
from shared.data.sealed import SealedColumn
from shared.events import Events
from shared.peers.client import HttpClient
from shared.reports.reports import KIND as REPORT
from shared.reports.reports import Reports
from shared.service import create_service
from shared.work.duties import Duties, Duty, IsStopping
from shared.work.jobs import Jobs, Kind
from shared.work.runner import Runner

# Every killed process counts as an attempt, and a long sync may go through several.
ATTEMPTS_MAX = 20


def create_app(settings: Settings, aws: Aws | None = None) -> Starlette:
    settings = demo_settings(settings) if settings.demo else settings
    database = Database(settings.database_url, settings.database_pool)
    aws = aws or Aws(settings)
    model = ChatModel(settings)
    sealed = SealedColumn(settings.sealer(), ACCOUNTS.c.secret)
    ldap_secrets = LdapSecrets(settings.sealer(), LDAP_SERVERS.c.bind_password)
    reports = Reports(database, REPORT_PARTS, SOURCES, settings.report_time)
    kinds = {
        **reports.kinds,
        syncs.JOB: Kind(Syncer(database, aws).run, ATTEMPTS_MAX),
        changing.JOB: Kind(Applier(database, aws, settings).run),
        reading.JOB: Kind(DirectoryReader(database, ldap_secrets, settings).run),
    }
    jobs = Jobs(JOBS, kinds, shown=[REPORT])  # syncs and changes have endpoints of their own
    duties = [
        reports.duty,
        Duty("renew_secrets", 3600, partial(sealed.renew, database), alone=True),
        Duty("renew_ldap_secrets", 3600, partial(ldap_secrets.renew, database), alone=True),
    ]
    forget = partial(forget_old, database, settings.retention_months)
    duties.append(Duty("forget_old", EVERY_SECONDS, forget, alone=True))
    if settings.sync_times is not None:
        duties.append(Duty("sync", settings.sync_times, partial(_start_sync, database, jobs), alone=True))
    demo = [Demo(settings, database, jobs, aws)] if settings.demo else []
    dashboard = Dashboard(is_demo=settings.demo)
    return create_service(
        settings,
        OPERATIONS,
        client=HttpClient(),
        database=database,
        idempotency=IDEMPOTENCY,
        provide={
            Jobs: jobs,
            Reports: reports,
            Aws: aws,
            SealedColumn: sealed,
            LdapSecrets: ldap_secrets,
            Backtests: Backtests(),
            Dashboard: dashboard,
            Model: model,
        },
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
        beside=[*demo, Runner(jobs, database), Duties(database, duties, JOBS), model],
        on_stop=[aws.close],
    )


def _start_sync(database: Database, jobs: Jobs, _: IsStopping) -> None:
    """Read the directories and start a sync, unless one is running or there is nothing to read."""
    with database.transaction() as session:
        reading.start_all(session, jobs)
    try:
        with database.transaction() as session:
            syncs.start(session, jobs, kind="all", by=None)
    except (SyncRunning, NothingToSync):
        return
