"""Checks of Redis and of the backups."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from shared.process.backups import backups_in
from shared.process.checkup import ASK_SECONDS, Finding, fault, good, warning
from shared.process.settings import mask
from shared.work.cron import Cron

# How late the next backup may be, and when it is expected without a schedule of ours: every night.
BACKUP_LATE = timedelta(hours=2)
NIGHTLY = timedelta(hours=24)


def redis(url: str) -> Iterator[Finding]:
    from redis import Redis
    from redis.exceptions import NoPermissionError, RedisError

    name = f"Redis {mask(url).rpartition('@')[2]}"
    if url.startswith("redis+sentinel://"):
        yield good(name, "is found through Sentinels; not checked further")
        return
    client = Redis.from_url(url, socket_timeout=ASK_SECONDS, socket_connect_timeout=ASK_SECONDS)
    try:
        began = time.monotonic()
        info: Mapping[str, Any] = client.info()
        took = (time.monotonic() - began) * 1000
        policy = str(info.get("maxmemory_policy", "noeviction"))
    except NoPermissionError:
        yield good(name, "reachable; its account has no permission to read further details")
        return
    except (RedisError, OSError) as error:
        yield fault(name, f"not reachable ({error})", "Start it, or correct REDIS_URL.")
        return
    finally:
        client.close()
    yield from _of_redis(name, info, policy, took)


def _of_redis(name: str, info: Mapping[str, Any], policy: str, took: float) -> Iterator[Finding]:
    if policy != "noeviction":
        words = f"maxmemory-policy is {policy}: events and counts of rate limits can be lost"
        yield fault(name, words, "Set it to noeviction.")
    failed = [one for one in ("rdb_last_bgsave_status", "aof_last_write_status") if info.get(one) == "err"]
    for one in failed:
        yield fault(name, f"it cannot save its data ({one} is err)", "Free disk space; see the log of Redis.")
    if policy == "noeviction" and not failed:
        yield good(name, f"{info.get('redis_version')}, {policy}, {took:.0f} ms")


def backups(folder: Path, *, is_production: bool, schedule: str = "", zone: str = "UTC") -> Iterator[Finding]:
    """Check that the newest backup of all services is the one last expected (BACKUP_SCHEDULE)."""
    found = backups_in(folder)
    if not found:
        remedy = "Run gatehouse backup now, and then every night (docs/backup.md)."
        yield (fault if is_production else warning)("backups", f"there is none in {folder}", remedy)
        return
    now, taken = datetime.now(UTC), found[0].taken
    words = f"the newest in {folder} is {(now - taken).total_seconds() / 3600:,.1f} h old"
    following = Cron(schedule, zone).next_after(taken) if schedule else taken + NIGHTLY
    if now > following + BACKUP_LATE:
        remedy = "Run gatehouse backup, and see why the scheduled one failed."
        yield (fault if is_production else warning)("backups", words, remedy)
    else:
        yield good("backups", words)
