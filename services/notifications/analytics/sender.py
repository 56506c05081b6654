"""Sends queued events to the Measurement Protocol of GA4, each by one replica."""

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlencode

import structlog
from prometheus_client import Counter
from sqlmodel import Session

from services.notifications.analytics.events import EVENT_AGE_MAX, QUEUE, Analytics, Measured
from services.notifications.queue_loop import QueueLoop
from services.notifications.settings import Settings
from shared.clock import now
from shared.data.database import Database
from shared.errors import Problem
from shared.peers.outbound import Answer, BadAddress, CallFailed, Outbound
from shared.work.changes import Changes
from shared.work.leased import Leased, LeaseLost, pause_after

AT_ONCE = 8
RETRY_FIRST, RETRY_MAX = timedelta(seconds=30), timedelta(hours=1)
ANSWER_BYTES_MAX = 16 * 1024
LOGGED_MAX = 10  # messages of the debug endpoint about one event
LOGGED_CHARACTERS_MAX = 300
_OWN_FAULTS = ("resting", "busy")

Outcome = Literal["sent", "checked", "refused", "withdrawn", "expired", "failed", "resting"]
SENT = Counter("analytics_events_total", "Attempts to send an event to GA4, by outcome", ["outcome"])

log = structlog.get_logger(__name__)


def calls_to_google(settings: Settings) -> Outbound:
    return Outbound(
        settings,
        "analytics",
        seconds_max=settings.analytics_timeout_seconds,
        answer_bytes_max=ANSWER_BYTES_MAX,
    )


class AnalyticsSender(QueueLoop):
    """Sends while it is open: `async with AnalyticsSender(…)`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        analytics: Analytics,
        changes: Changes,
        outbound: Outbound,
    ) -> None:
        super().__init__(QUEUE, "analytics", changes, settings.analytics_timeout_seconds)
        self._database, self._analytics, self._outbound = database, analytics, outbound
        named = {
            "measurement_id": settings.ga4_measurement_id,
            "api_secret": settings.ga4_api_secret.get_secret_value(),
        }
        self._is_debugging = settings.ga4_debug
        path = "debug/mp/collect" if self._is_debugging else "mp/collect"
        self._url = f"{settings.ga4_url.rstrip('/')}/{path}?{urlencode(named)}"

    async def close(self) -> None:
        await self._outbound.close()

    async def turn(self) -> bool:
        """Send a few events; return whether there were any."""
        if not await self._database.read(self._analytics.queue.is_due):
            return False
        claimed = await self._database.run(self._analytics.queue.claim, AT_ONCE)
        await asyncio.gather(*(self._handle(one) for one in claimed))
        return bool(claimed)

    async def _handle(self, leased: Leased) -> None:
        try:
            outcome, pause = await self._attempt(leased)
            SENT.labels(outcome).inc()
            await self._database.run(self._settle, leased, outcome, pause)
        except LeaseLost:
            log.warning("analytics_lease_lost")
        except Problem as error:  # the lease expires, and the event is sent again
            log.warning("analytics_not_noted", error=repr(error))
        except Exception:
            log.exception("analytics_event_interrupted")

    async def _attempt(self, leased: Leased) -> tuple[Outcome, timedelta]:
        measured, none = Measured(**json.loads(leased.body)), timedelta(0)
        if datetime.fromtimestamp(measured.micros / 1_000_000, UTC) <= now() - EVENT_AGE_MAX:
            return "expired", none
        if await self._database.read(self._analytics.client_id, measured.user_id) != measured.client_id:
            return "withdrawn", none  # or the account was deleted
        return await self._call(measured, leased.attempts)

    async def _call(self, measured: Measured, attempts: int) -> tuple[Outcome, timedelta]:
        headers = {"Content-Type": "application/json", "User-Agent": "gatehouse-analytics"}
        pause = pause_after(attempts, RETRY_FIRST, RETRY_MAX)
        pause *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, is no secret
        try:
            answer = await self._outbound.call("POST", self._url, body=measured.body, headers=headers)
        except CallFailed as error:
            if error.reason in _OWN_FAULTS:
                return "resting", timedelta(seconds=error.retry_after or 1.0)
            return "failed", pause
        except BadAddress as error:
            log.error("analytics_address_refused", error=str(error))  # noqa: TRY400 - the message says all
            return "failed", RETRY_MAX
        if answer.status in (408, 429) or answer.status >= 500:
            return "failed", timedelta(seconds=answer.retry_after) if answer.retry_after else pause
        return self._ended(measured, answer), timedelta(0)

    def _ended(self, measured: Measured, answer: Answer) -> Outcome:
        if not answer.is_success:
            log.error("analytics_event_refused", status=answer.status)
            return "refused"
        if self._is_debugging:
            log.info("analytics_event_checked", event_name=measured.name, messages=messages_of(answer.body))
            return "checked"
        return "sent"

    def _settle(self, session: Session, leased: Leased, outcome: Outcome, pause: timedelta) -> None:
        queue = self._analytics.queue
        if outcome in ("failed", "resting"):
            counted = leased.attempts - (outcome == "resting")
            queue.put_off(session, leased, pause, attempts=counted)
        else:
            queue.finish(session, leased)


def messages_of(body: bytes) -> list[str]:
    """Return what the debug endpoint has said about an event: nothing if it is valid."""
    try:
        found = json.loads(body)["validationMessages"]
        said = [
            f"{one.get('validationCode')} {one.get('fieldPath', '')}: {one.get('description')}"
            for one in found[:LOGGED_MAX]
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ["the response is not what the debug endpoint sends"]
    return [one[:LOGGED_CHARACTERS_MAX] for one in said]
