"""Calls to AWS: credentials, retries, and what a failure means.

boto3 blocks, so it runs in its own threads. Its retries are switched off in favour of those here, which hold
no thread while they wait, are counted, and end at once when the sync is cancelled.
"""

import asyncio
import random
import re
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any

import structlog

from services.inventory.models import ACCOUNTS
from services.inventory.settings import Settings
from services.inventory.sync.pace import Api, Pace
from shared.data.sealed import KeyMissing, SealBroken, SealedColumn

log = structlog.get_logger(__name__)

THREADS = 4
CONNECT_SECONDS, READ_SECONDS = 5, 30
PAUSE_SECONDS_MAX = 20.0
PRICING_RATE = 10.0  # calls per second
SESSION_SECONDS = 3600
RENEWED_BEFORE = 300.0
MESSAGE_CHARACTERS_MAX = 300
# For the AWS services that have a single global endpoint.
HOME_REGION = "us-east-1"

_WRONG_CREDENTIALS = frozenset(
    """
    InvalidClientTokenId UnrecognizedClientException SignatureDoesNotMatch InvalidSignatureException
    ExpiredToken ExpiredTokenException AuthFailure MissingAuthenticationToken IncompleteSignature
    """.split()
)
_DENIED = frozenset(("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"))
_THROTTLED = frozenset(
    """
    Throttling ThrottlingException ThrottledException RequestLimitExceeded TooManyRequestsException
    RequestThrottled RequestThrottledException LimitExceededException SlowDown
    """.split()
)
_BAD_CURSOR = frozenset(
    """
    InvalidParameterValuesException InvalidNextTokenException InvalidNextToken PaginationTokenExpiredException
    """.split()
)
_SECRETS = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")


class Kind(StrEnum):
    """What a failure means for the person who has to fix it."""

    CREDENTIALS = "credentials"
    DENIED = "denied"
    THROTTLED = "throttled"
    AWAY = "away"
    CURSOR = "cursor"
    OTHER = "other"


class AwsFailed(Exception):
    """A call that failed permanently; `action` is the permission it needs."""

    def __init__(self, kind: Kind, action: str, code: str, message: str) -> None:
        self.kind, self.action, self.code = kind, action, code
        self.message = _SECRETS.sub("(key)", message)[:MESSAGE_CHARACTERS_MAX]
        super().__init__(f"{action}: {code}: {self.message}")


@dataclass(frozen=True, slots=True)
class Target:
    """The columns of an account that calls to AWS need."""

    id: str
    version: int
    role_arn: str | None = None
    external_id: str | None = None
    access_key_id: str | None = None
    secret: str | None = field(default=None, repr=False)  # sealed
    endpoint_url: str | None = None


@dataclass(slots=True)
class Tally:
    """How many calls were made, and how many of them AWS throttled."""

    calls: int = 0
    throttled: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One operation of one API, as boto3 names them; `action` is the permission it needs."""

    api: str
    operation: str
    action: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Aws:
    """The clients of all accounts, and the threads that use them."""

    def __init__(self, settings: Settings, pace: Pace | None = None) -> None:
        self.settings = self._settings = settings
        self.endpoint: str | None = None  # instead of AWS, for accounts without one of their own
        self._sealed = SealedColumn(settings.sealer(), ACCOUNTS.c.secret)
        rates = {
            "workspaces": settings.workspaces_rate,
            "resourcegroupstaggingapi": settings.tagging_rate,
            "cloudtrail": settings.cloudtrail_rate,
            "cloudwatch": settings.cloudwatch_rate,
            "pricing": PRICING_RATE,
        }
        self._pace = pace or Pace(rates)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="aws")
        self._lock = threading.Lock()
        self._sessions: dict[str, tuple[int, float, Any]] = {}  # account id: (version, expiry, session)
        self._clients: dict[tuple[str, str, str], tuple[Any, Any]] = {}

    async def call(self, target: Target, region: str, call: Call, tally: Tally) -> dict[str, Any]:
        """Make the call, with retries; raises AwsFailed after the last attempt."""
        api = Api(target.id, region, call.api)
        for attempt in range(1, self._settings.aws_attempts + 1):
            await self._pace.turn(api)
            tally.calls += 1
            try:
                return await self.once(target, region, call)
            except AwsFailed as error:
                tally.throttled += error.kind is Kind.THROTTLED
                may_succeed = error.kind in (Kind.THROTTLED, Kind.AWAY)
                if not may_succeed or attempt == self._settings.aws_attempts:
                    raise
                pause = min(self._settings.aws_retry_seconds * 2 ** (attempt - 1), PAUSE_SECONDS_MAX)
                pause *= random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not cryptography
                if error.kind is Kind.THROTTLED:
                    self._pace.hold(api, pause)
                else:
                    await self._pace.pause(pause)
        raise AssertionError("the last attempt returns or raises")

    async def once(self, target: Target, region: str, call: Call) -> dict[str, Any]:
        """Make the call at once, without retries."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._blocking, target, region, call)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _blocking(self, target: Target, region: str, call: Call) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            client = self._client(target, region, call.api)
            answer: dict[str, Any] = getattr(client, call.operation)(**call.arguments)
        except ClientError as error:
            raise _failure(call, error.response) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise _without_answer(call, error) from error
        return answer

    def _client(self, target: Target, region: str, api: str) -> Any:
        """Return the cached client: creating one takes tens of milliseconds and holds a boto3 lock."""
        with self._lock:
            session = self._session(target)
            known = self._clients.get((target.id, region, api))
            if known is None or known[0] is not session:
                client = session.create_client(
                    api, region_name=region, endpoint_url=self._endpoint(target), config=_config()
                )
                known = self._clients[target.id, region, api] = (session, client)
            return known[1]

    def _endpoint(self, target: Target) -> str | None:
        return target.endpoint_url or self.endpoint

    def _session(self, target: Target) -> Any:
        version, until, session = self._sessions.get(target.id, (-1, 0.0, None))
        if version != target.version or until < time.monotonic():
            session, until = self._new_session(target)
            self._sessions[target.id] = (target.version, until, session)
        return session

    def _new_session(self, target: Target) -> tuple[Any, float]:
        """Create a session with the account's keys or the service's, or with the role that they assume."""
        key_id, secret = self._keys(target)
        own = _session_with(key_id, secret)
        if target.role_arn is None:
            return own, float("inf")
        url = self._endpoint(target)
        sts = own.create_client("sts", region_name=HOME_REGION, endpoint_url=url, config=_config())
        external = {"ExternalId": target.external_id} if target.external_id else {}
        try:
            given = sts.assume_role(
                RoleArn=target.role_arn,
                RoleSessionName="gatehouse-inventory",
                DurationSeconds=SESSION_SECONDS,
                **external,
            )["Credentials"]
        except _client_error() as error:
            raise _failure(ASSUME_ROLE, error.response) from error
        session = _session_with(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
        return session, time.monotonic() + SESSION_SECONDS - RENEWED_BEFORE

    def _keys(self, target: Target) -> tuple[str, str]:
        if target.access_key_id is None or target.secret is None:
            settings = self._settings
            return settings.aws_access_key_id, settings.aws_secret_access_key.get_secret_value()
        try:
            return target.access_key_id, self._sealed.open(target.id, target.secret)
        except (SealBroken, KeyMissing) as error:
            message = "The stored secret cannot be decrypted; set secret_access_key again."
            raise AwsFailed(Kind.CREDENTIALS, WHO.action, type(error).__name__, message) from error


ASSUME_ROLE = Call("sts", "assume_role", "sts:AssumeRole")
WHO = Call("sts", "get_caller_identity", "sts:GetCallerIdentity")


def _client_error() -> Any:
    from botocore.exceptions import ClientError

    return ClientError


def _session_with(key_id: str, secret: str, token: str | None = None) -> Any:
    """Create a session with these credentials; without them it searches for some."""
    from botocore.session import Session

    session = Session()
    session.register_component("data_loader", _api_descriptions())
    session.register_component("response_parser_factory", _parsers())
    if key_id:
        session.set_credentials(key_id, secret, token)
    return session


@cache
def _api_descriptions() -> Any:
    """Return botocore's descriptions of APIs, which every session would otherwise parse again, in 70 ms."""
    from botocore.session import Session

    return Session().get_component("data_loader")


@cache
def _parsers() -> Any:
    from botocore.parsers import ResponseParserFactory

    parsers = ResponseParserFactory()
    parsers.set_parser_defaults(timestamp_parser=parsed_time)
    return parsers


def parsed_time(told: Any) -> datetime:
    """Return a time from a response, in UTC if it is a number.

    botocore creates a time zone for each of them, which took a third of the CPU time of reading samples.
    """
    from botocore.utils import parse_timestamp

    if isinstance(told, int | float):
        with suppress(OverflowError, OSError, ValueError):
            return datetime.fromtimestamp(told, UTC)
    time_of_response: datetime = parse_timestamp(told)
    return time_of_response


@cache
def _config() -> Any:
    from botocore.config import Config

    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 1},
        user_agent_extra="gatehouse",
    )


@cache
def regions() -> tuple[str, ...]:
    """Return the regions in which botocore knows WorkSpaces."""
    return tuple(sorted(_session_with("", "").get_available_regions("workspaces")))


def _failure(call: Call, response: Mapping[str, Any]) -> AwsFailed:
    fault: Mapping[str, Any] = response.get("Error", {})
    code, message = str(fault.get("Code", "")), str(fault.get("Message", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return AwsFailed(_kind(call, code, status), call.action, code, message)


def _kind(call: Call, code: str, status: int) -> Kind:
    if code in _WRONG_CREDENTIALS or (call is ASSUME_ROLE and code in _DENIED):
        return Kind.CREDENTIALS
    if code in _DENIED:
        return Kind.DENIED
    if code in _THROTTLED or status == 429:
        return Kind.THROTTLED
    if code in _BAD_CURSOR:
        return Kind.CURSOR
    return Kind.AWAY if status >= 500 else Kind.OTHER


def _without_answer(call: Call, error: Exception) -> AwsFailed:
    """Classify a call without a usable response: no credentials, no connection, or an unreadable body."""
    from botocore.exceptions import (
        ConnectionError as NotConnected,
    )
    from botocore.exceptions import HTTPClientError, NoCredentialsError, PartialCredentialsError
    from botocore.parsers import ResponseParserError

    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        message = "The service has no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        return AwsFailed(Kind.CREDENTIALS, call.action, "NoCredentials", message)
    is_away = isinstance(error, HTTPClientError | NotConnected | ResponseParserError)
    code = type(error).__name__
    return AwsFailed(Kind.AWAY if is_away else Kind.OTHER, call.action, code, str(error))
