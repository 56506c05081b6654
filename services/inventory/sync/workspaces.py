"""Source of WorkSpaces with their bundles, tags and connections, and of the changes to them."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlmodel import Session

from services.inventory.aws import AwsFailed, Call, Kind
from services.inventory.events import tell_changed, tell_found, tell_gone
from services.inventory.models import CHANGES, GONE, PRESENT, TAGS, WORKSPACES, Workspace
from services.inventory.sync.source import Fetched, Place, Reading, Values, text
from services.inventory.totals import count_workspaces
from shared.clock import now
from shared.data.bulk import insert_rows
from shared.ids import new_id
from shared.lists.search import searchable

PAGE_ROWS = 25  # the most that AWS returns per page
LIST = "workspaces:DescribeWorkspaces"
CONNECTIONS = "workspaces:DescribeWorkspacesConnectionStatus"
BUNDLES = "workspaces:DescribeWorkspaceBundles"
TAGGED = "tag:GetResources"

# Changes to these fields are stored in the history and emitted as events.
HISTORY = frozenset(
    """
    state running_mode auto_stop_minutes directory_id user_name bundle_id compute_type os root_gib user_gib
    computer_name ip_address encrypted_root encrypted_user tags gone
    """.split()
)


class Workspaces:
    """Reads `DescribeWorkspaces`, then for each page the connections, tags and names of new bundles."""

    def __init__(self) -> None:
        self._bundles: dict[str, str | None] = {}

    async def fetch(self, reading: Reading, cursor: str | None) -> Fetched:
        after = {"NextToken": cursor} if cursor else {}
        listing = Call("workspaces", "describe_workspaces", LIST, {"Limit": PAGE_ROWS, **after})
        answer = await reading.aws.call(reading.target, reading.place.region, listing, reading.tally)
        found = answer.get("Workspaces", [])
        rows = {str(one["WorkspaceId"]): _row(one) for one in found}
        missing: set[str] = set()
        for add in (self._add_connections, self._add_tags, self._add_bundles) if rows else ():
            try:
                await add(reading, rows)
            except AwsFailed as error:
                if error.kind is not Kind.DENIED:
                    raise
                missing.add(error.action)  # these fields keep their old values
        return Fetched([*rows.values()], answer.get("NextToken"), frozenset(missing))

    async def _add_connections(self, reading: Reading, rows: Mapping[str, dict[str, Any]]) -> None:
        answer = await self._ask(
            reading,
            Call(
                "workspaces", "describe_workspaces_connection_status", CONNECTIONS, {"WorkspaceIds": [*rows]}
            ),
        )
        for row in rows.values():
            row |= {"connection_state": None, "last_connection": None}
        for one in answer.get("WorkspacesConnectionStatus", ()):
            if (known := rows.get(one.get("WorkspaceId"))) is not None:
                last = one.get("LastKnownUserConnectionTimestamp")
                known["connection_state"] = text(one.get("ConnectionState"), 60)
                known["last_connection"] = None if last is None else last.astimezone(UTC)

    async def _add_tags(self, reading: Reading, rows: Mapping[str, dict[str, Any]]) -> None:
        place = reading.place
        prefix = f"arn:{_partition(place.region)}:workspaces:{place.region}:{place.number}:workspace/"
        arns = [prefix + workspace_id for workspace_id in rows]
        answer = await self._ask(
            reading, Call("resourcegroupstaggingapi", "get_resources", TAGGED, {"ResourceARNList": arns})
        )
        found: dict[str, dict[str, str]] = {
            workspace_id: {} for workspace_id in rows
        }  # AWS leaves out untagged ones
        for one in answer.get("ResourceTagMappingList", ()):
            tags = {text(tag["Key"], 128) or "": text(tag["Value"], 256) or "" for tag in one["Tags"]}
            found[one["ResourceARN"].rpartition("/")[2]] = tags
        for workspace_id, row in rows.items():
            row["tags"] = json.dumps(found[workspace_id], ensure_ascii=False, sort_keys=True)

    async def _add_bundles(self, reading: Reading, rows: Mapping[str, dict[str, Any]]) -> None:
        ids = {row["bundle_id"] for row in rows.values()} - self._bundles.keys() - {None}
        if ids:
            asked = {"BundleIds": sorted(ids)}
            answer = await self._ask(
                reading, Call("workspaces", "describe_workspace_bundles", BUNDLES, asked)
            )
            names = {one["BundleId"]: text(one.get("Name"), 300) for one in answer.get("Bundles", ())}
            self._bundles |= {bundle_id: names.get(bundle_id) for bundle_id in ids}
        for row in rows.values():
            row["bundle_name"] = self._bundles.get(row["bundle_id"])

    async def _ask(self, reading: Reading, call: Call) -> dict[str, Any]:
        return await reading.aws.call(reading.target, reading.place.region, call, reading.tally)

    def keep(self, session: Session, place: Place, rows: Sequence[Values]) -> int:
        """Save rows that are new or changed, and set `last_seen` on all; return the number of the former."""
        execute, at = session.connection().execute, place.seen()
        ids = [row["workspace_id"] for row in rows]
        listed = WORKSPACES.c.workspace_id.in_(ids)
        known = {
            row["workspace_id"]: dict(row) for row in execute(select(WORKSPACES).where(listed)).mappings()
        }
        where = {"account": place.account, "region": place.region, "gone": None, "presence": PRESENT}
        changed, new = 0, list[Values]()
        count_workspaces(session, [(known.get(row["workspace_id"]), {**row, **where}) for row in rows])
        for row in ({**one, **where} for one in rows):
            before = known.get(row["workspace_id"])
            if before is None:
                new.append(row)
            else:
                changed += self._change(session, before, row, at)
        self._add(session, place, new, at)
        execute(update(WORKSPACES).where(listed).values(last_seen=at))
        return changed + len(new)

    def _add(self, session: Session, place: Place, rows: Sequence[Values], at: datetime) -> None:
        times = dict.fromkeys(("first_seen", "last_seen", "state_changed", "updated"), at)
        made = [Workspace(**{**row, **times}, search=_search_text(row)).model_dump() for row in rows]
        insert_rows(session, WORKSPACES, made)
        insert_rows(session, TAGS, [tag for one in made for tag in _tags_of(one["id"], one["tags"])])
        if not place.is_first:
            for one in made:
                tell_found(session, one)

    def _change(self, session: Session, before: Values, row: Values, at: datetime) -> bool:
        values = {name: value for name, value in row.items() if before[name] != value}
        if not values:
            return False
        changes = {name: (before[name], values[name]) for name in sorted(HISTORY & values.keys())}
        if "state" in values:
            values |= {"previous_state": before["state"], "state_changed": at}
        values["search"] = _search_text({**before, **row})
        values |= {"version": before["version"] + 1, "updated": at}
        session.connection().execute(update(WORKSPACES).where(WORKSPACES.c.id == before["id"]).values(values))
        if "tags" in values:
            _keep_tags(session, before["id"], values["tags"])
        write_changes(session, row["workspace_id"], changes, at)
        if changes:
            tell_changed(session, row["workspace_id"], changes)
        return True

    def forget(self, session: Session, place: Place, most: int) -> int:
        execute, at = session.connection().execute, now()
        here: list[ColumnElement[bool]] = [
            WORKSPACES.c.account == place.account,
            WORKSPACES.c.region == place.region,
        ]
        unseen = WORKSPACES.c.gone.is_(None), WORKSPACES.c.last_seen < place.started
        rows = execute(select(WORKSPACES).where(*here, *unseen).limit(most)).mappings().all()
        ids = [row["id"] for row in rows]
        values = {"gone": at, "presence": GONE, "updated": at, "version": WORKSPACES.c.version + 1}
        execute(update(WORKSPACES).where(WORKSPACES.c.id.in_(ids)).values(values))
        for row in rows:
            write_changes(session, row["workspace_id"], {"gone": (None, at)}, at)
            tell_gone(session, dict(row))
        count_workspaces(session, ((dict(row), {**row, "presence": GONE}) for row in rows))
        return len(rows)


def write_changes(
    session: Session, workspace_id: str, changes: Mapping[str, tuple[Any, Any]], at: datetime
) -> None:
    rows = [
        {
            "id": new_id(),
            "workspace_id": workspace_id,
            "at": at,
            "field": name,
            "before": _written(before),
            "after": _written(after),
        }
        for name, (before, after) in changes.items()
    ]
    if rows:
        session.connection().execute(insert(CHANGES), rows)


def _written(value: Any) -> str | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return None if value is None else str(value)


def _keep_tags(session: Session, row_id: str, tags: str | None) -> None:
    session.connection().execute(delete(TAGS).where(TAGS.c.id == row_id))
    insert_rows(session, TAGS, _tags_of(row_id, tags))


def _tags_of(row_id: str, tags: str | None) -> list[dict[str, str]]:
    return [{"id": row_id, "key": key, "value": value} for key, value in json.loads(tags or "{}").items()]


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an entry of `DescribeWorkspaces` to columns."""
    properties = one.get("WorkspaceProperties", {})
    error = ": ".join(filter(None, (one.get("ErrorCode"), one.get("ErrorMessage"))))
    return {
        "workspace_id": text(one["WorkspaceId"], 60),
        "directory_id": text(one.get("DirectoryId", ""), 60),
        "user_name": text(one.get("UserName", ""), 300),
        "ip_address": text(one.get("IpAddress"), 60),
        "state": text(one.get("State", "UNKNOWN"), 60),
        "error": text(error or None, 500),
        "bundle_id": text(one.get("BundleId"), 60),
        "subnet_id": text(one.get("SubnetId"), 60),
        "computer_name": text(one.get("ComputerName"), 300),
        "running_mode": text(properties.get("RunningMode"), 60),
        "auto_stop_minutes": properties.get("RunningModeAutoStopTimeoutInMinutes"),
        "root_gib": properties.get("RootVolumeSizeGib"),
        "user_gib": properties.get("UserVolumeSizeGib"),
        "compute_type": text(properties.get("ComputeTypeName"), 60),
        "os": text(properties.get("OperatingSystemName"), 60),
        "protocols": json.dumps(properties.get("Protocols", [])),
        "encrypted_root": bool(one.get("RootVolumeEncryptionEnabled")),
        "encrypted_user": bool(one.get("UserVolumeEncryptionEnabled")),
    }


def _search_text(row: Values) -> str:
    """Join the searchable fields, one per line so that no search matches across two of them."""
    tags = json.loads(row.get("tags") or "{}")
    fields = [row.get(name) for name in ("workspace_id", "user_name", "computer_name", "ip_address")]
    return "\n".join(searchable(part) for part in [*fields, *tags.values()] if part)


def _partition(region: str) -> str:
    """Return the ARN partition of a region: China and GovCloud have their own."""
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
