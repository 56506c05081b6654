"""Clients of S3 or a compatible service. boto3 is large, so only who uses a bucket imports this module."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError

from shared.process.stored import EXPIRES_SECONDS, HOLD_PREFIX, StoredBucket

CONNECTIONS = 32
MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_NO_BUCKET = frozenset({"NoSuchBucket", "404"})
_REFUSED = frozenset(
    {"403", "AccessDenied", "AuthFailure", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
)


class BucketFailed(Exception):
    """A bucket did not do what was asked; the message says why in a sentence without a full stop."""


def client_of(bucket: StoredBucket) -> Any:
    """Return a client with the bucket's endpoint and keys."""
    return client(bucket.endpoint_url, bucket.region, bucket.access_key, bucket.secret_key)


def client(
    endpoint_url: str | None, region: str | None, access_key: str | None, secret_key: str | None
) -> Any:
    """Return a client; what is None is left to AWS's own variables, profiles and roles."""
    return _session().client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            signature_version="s3v4",
            retries={"mode": "standard", "max_attempts": 3},
            connect_timeout=3,
            read_timeout=30,
            tcp_keepalive=True,
            max_pool_connections=CONNECTIONS,
            # Services other than AWS rarely have a host name for each bucket.
            s3={"addressing_style": "path" if endpoint_url else "auto"},
        ),
    )


@cache
def _session() -> Any:
    """Return the process's only session: loading boto3's data takes longer than creating a client."""
    return boto3.session.Session()


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turn a failure of the bucket into BucketFailed."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise BucketFailed(f"{place}: {_reason(error)}") from error


def _reason(error: BotoCoreError | ClientError) -> str:
    if isinstance(error, NoCredentialsError):
        return "there is no access key for S3"
    if isinstance(error, EndpointConnectionError):
        return "S3 cannot be reached"
    code = code_of(error) if isinstance(error, ClientError) else ""
    if code in _NO_BUCKET:
        return "there is no such bucket"
    if code in _REFUSED:
        return f"S3 refuses the access key ({code})"
    return str(error).rstrip(".")


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def is_held(client: Any, bucket: str, prefix: str) -> bool:
    """Whether a backup is copying the objects below this prefix; times are those of the server's clock."""
    listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}{HOLD_PREFIX}")
    sent = listed["ResponseMetadata"]["HTTPHeaders"].get("date")
    moment = parsedate_to_datetime(sent) if sent else datetime.now(UTC)
    ages = ((moment - one["LastModified"]).total_seconds() for one in listed.get("Contents", ()))
    return any(abs(age) < EXPIRES_SECONDS for age in ages)
