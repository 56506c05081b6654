"""Input and output models of the audit service."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from shared.http.schemas import Id, Input, Output, Query, Text, example
from shared.lists.pagination import PageQuery
from shared.lists.times import Time
from shared.words import pattern

SEQ_MAX = 2**53
# Example values.
_KEY = "gatehouse+1f2e3d4c+AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh"
_DIGEST, _OTHER = (
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
)


Seq = Annotated[int, Field(ge=0, lt=SEQ_MAX)]
_HASH = pattern("^[0-9a-f]{64}$", "must be a SHA-256 digest: 64 of the digits 0 to 9 and letters a to f")
Hash = Annotated[str, Field(pattern=_HASH, description="SHA-256, in hexadecimal.")]


class FilterLogs(Query):
    """Filters; a record must match all of them."""

    user_id: Id | None = Field(
        default=None, description="The account that acted; admins may name any account."
    )
    action: str | None = Field(default=None, max_length=100, description="For example PLACE_ORDER.")
    resource: str | None = Field(default=None, max_length=200, description="The resource of the action.")
    outcome: Literal["success", "refused"] | None = None
    since: Time | None = Field(default=None, alias="from", description="At this time or later.")
    until: Time | None = Field(default=None, alias="to", description="Before this time.")

    @property
    def is_everything(self) -> bool:
        narrowing = (self.user_id, self.action, self.resource, self.outcome, self.since, self.until)
        return all(one is None for one in narrowing)

    def in_words(self, user_id: str | None) -> dict[str, str]:
        """Return the filters under the names that clients use, limited to this account if there is one."""
        names = set(FilterLogs.model_fields) - {"user_id"}
        given = self.model_dump(mode="json", by_alias=True, exclude_none=True, include=names)
        return given if user_id is None else {"user_id": user_id, **given}


class ListLogs(FilterLogs, PageQuery):
    pass


class ExportLogs(FilterLogs):
    format: Literal["ndjson", "csv"] = Field(
        default="ndjson", description="`ndjson` can be checked by the verifier, `csv` is for spreadsheets."
    )
    kept: Seq | None = Field(
        default=None,
        description="The size of a checkpoint that you kept: the export proves that the log continues it.",
    )


class LogOut(Output):
    """One record; ip, user_agent and metadata are null after the person has been erased."""

    model_config = example(
        {
            "id": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "action": "PLACE_ORDER",
            "resource": "0198c0de-5f00-7a10-8000-3f2b8c1de04a",
            "ip": "203.0.113.7",
            "user_agent": "curl/8.5.0",
            "metadata": {"quantity": 1},
            "timestamp": "2026-01-31T12:00:00Z",
            "actor": "user:0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "outcome": "success",
            "status": 201,
            "service": "orders",
            "request_id": "0198c0de-5eff-7d00-8000-7f3a9b2c1d0e",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "seq": 41,
        }
    )

    id: str
    user_id: str | None
    action: str
    resource: str
    ip: str | None
    user_agent: str | None
    metadata: dict[str, Any] | None
    timestamp: datetime
    actor: str
    outcome: str
    status: int
    service: str
    request_id: str | None
    trace_id: str | None
    seq: int

    @classmethod
    def of(cls, row: Mapping[str, Any], metadata: dict[str, Any] | None) -> Self:
        return cls.unchecked({**row, "metadata": metadata})


class KeyOut(Output):
    model_config = example(
        {
            "key": _KEY,
            "keys": [_KEY],
        }
    )

    key: str = Field(description="The signing key in the format of C2SP signed notes: `name+id+base64`.")
    keys: list[str] = Field(description="This key and earlier ones.")


class ProveInclusion(Query):
    seq: Seq = Field(description="The position of the record.")
    size: Seq | None = Field(
        default=None, description="The size of the tree; by default that of the newest checkpoint."
    )


class InclusionOut(Output):
    model_config = example(
        {
            "seq": 41,
            "size": 64,
            "leaf": _DIGEST,
            "root": _OTHER,
            "proof": [_DIGEST, _OTHER],
        }
    )

    seq: int
    size: int
    leaf: Hash
    root: Hash
    proof: list[Hash]


class ProveConsistency(Query):
    since: Seq = Field(alias="from", description="The size of the checkpoint that you kept.")
    until: Seq | None = Field(
        default=None, alias="to", description="A later size; by default that of the newest checkpoint."
    )


class ConsistencyOut(Output):
    model_config = example(
        {
            "size_before": 32,
            "root_before": _DIGEST,
            "size": 64,
            "root": _OTHER,
            "proof": [_DIGEST],
        }
    )

    size_before: int
    root_before: Hash
    size: int
    root: Hash
    proof: list[Hash]


VERIFY_RECORDS_MAX = 1_000_000


class VerifyLog(Query):
    since: Seq | None = Field(
        default=None,
        alias="from",
        description="The first record; by default the oldest. If it was cut off, its hash is checked.",
    )
    limit: int = Field(
        default=100_000,
        ge=1,
        le=VERIFY_RECORDS_MAX,
        description="The number of records; rounded up to a checkpoint.",
    )


class FaultOut(Output):
    model_config = example(
        {
            "kind": "changed",
            "seq": 41,
            "detail": "The record does not match the tree.",
        }
    )

    kind: str
    seq: int | None = Field(description="The first record concerned.")
    detail: str


class VerificationOut(Output):
    model_config = example(
        {
            "intact": True,
            "first": 0,
            "end": 64,
            "size": 70,
            "records": 64,
            "seconds": 0.02,
            "faults": [],
            "unproven": [],
            "remarks": [],
            "next": None,
        }
    )

    intact: bool
    first: int
    end: int = Field(description="The size of the checkpoint with which the records were compared.")
    size: int = Field(description="The number of records that the log has ever had.")
    records: int = Field(description="The number of records that were checked.")
    seconds: float
    faults: list[FaultOut]
    unproven: list[FaultOut] = Field(
        description="Records without a visible fault that the log does not prove."
    )
    remarks: list[str]
    next: int | None = Field(description="The next `from`, to continue; null at the end of the log.")


class PlaceHold(Input):
    model_config = example(
        {
            "reason": "Ticket 4711: kept until the inquiry ends.",
        }
    )

    reason: Annotated[Text, Field(max_length=500)]


class HoldOut(Output):
    model_config = example(
        {
            "user_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
            "reason": "Ticket 4711: kept until the inquiry ends.",
            "created": "2026-01-31T12:00:00Z",
        }
    )

    user_id: str
    reason: str
    created: datetime
