"""Application factory of the inventory service."""

from functools import partial

from sqlmodel import Session
from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.inventory.ask.model import ChatModel, Model
from services.inventory.aws import Aws
from services.inventory.dashboard import Dashboard
from services.inventory.errors import NothingToSync, SyncRunning
from services.inventory.events import CONSUMES
from services.inventory.models import ACCOUNTS, EVENTS, IDEMPOTENCY, JOBS
from services.inventory.routes import OPERATIONS
from services.inventory.settings import Settings
from services.inventory.sync import syncs
from services.inventory.sync.syncer import Syncer
from shared.data.database import Database
from shared.data.sealed import SealedColumn
from shared.events import Events
from shared.peers.client import HttpClient
from shared.service import create_service
from shared.work.duties import Duties, Duty, IsStopping
from shared.work.jobs import Jobs, Kind
from shared.work.runner import Runner

# Every killed process counts as an attempt, and a long sync may go through several.
ATTEMPTS_MAX = 20


def create_app(settings: Settings, aws: Aws | None = None) -> Starlette:
    database = Database(settings.database_url, settings.database_pool)
    aws = aws or Aws(settings)
    model = ChatModel(settings)
    jobs = Jobs(JOBS, {syncs.JOB: Kind(Syncer(database, aws).run, ATTEMPTS_MAX)})
    sealed = SealedColumn(settings.sealer(), ACCOUNTS.c.secret)
    duties = [Duty("renew_secrets", 3600, partial(sealed.renew, database), alone=True)]
    if settings.sync_times is not None:
        duties.append(Duty("sync", settings.sync_times, partial(_start_sync, database, jobs), alone=True))
    return create_service(
        settings,
        OPERATIONS,
        client=HttpClient(),
        database=database,
        idempotency=IDEMPOTENCY,
        provide={Jobs: jobs, Aws: aws, SealedColumn: sealed, Dashboard: Dashboard(), Model: model},
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
        beside=[Runner(jobs, database), Duties(database, duties, JOBS), model],
        on_stop=[aws.close],
    )


def _start_sync(database: Database, jobs: Jobs, _: IsStopping) -> None:
    """Start a scheduled sync, unless one is running or there is no account to read."""

    def start(session: Session) -> None:
        syncs.start(session, jobs, kind="all", by=None)

    try:
        with database.transaction() as session:
            start(session)
    except (SyncRunning, NothingToSync):
        return
