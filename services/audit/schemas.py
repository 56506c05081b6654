"""What goes into the audit service and what comes out."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BeforeValidator, Field

from shared.pagination import PageQuery
from shared.schemas import Id, Input, Output, Query, Text

SEQ_MAX = 2**53


def _written_out(value: object) -> object:
    # pydantic would take 0.5 for half a second after the beginning of 1970
    if isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\d[T ]", value):
        raise ValueError("must be a time like 2026-01-31T12:00:00Z")
    return value


# In UTC it still has to lie in the calendar, whatever its zone is.
Time = Annotated[
    AwareDatetime,
    BeforeValidator(_written_out),
    Field(ge=datetime.min.replace(tzinfo=UTC), le=datetime.max.replace(tzinfo=UTC)),
]
Seq = Annotated[int, Field(ge=0, lt=SEQ_MAX)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256, in hexadecimal.")]


class FilterLogs(Query):
    """Which records; all that is given must be true of them."""

    user_id: Id | None = Field(default=None, description="Who acted; another account than yours for admins.")
    action: str | None = Field(default=None, max_length=100, description="For example FILE_UPLOAD.")
    resource: str | None = Field(default=None, max_length=200, description="What was acted on.")
    outcome: Literal["success", "refused"] | None = None
    since: Time | None = Field(default=None, alias="from", description="From then on.")
    until: Time | None = Field(default=None, alias="to", description="Before then.")

    @property
    def is_everything(self) -> bool:
        narrowing = (self.user_id, self.action, self.resource, self.outcome, self.since, self.until)
        return all(one is None for one in narrowing)


class ListLogs(FilterLogs, PageQuery):
    pass


class ExportLogs(FilterLogs):
    format: Literal["ndjson", "csv"] = Field(
        default="ndjson", description="`ndjson` can be checked by the verifier, `csv` is for spreadsheets."
    )


class LogOut(Output):
    """One record; ip, user_agent and metadata are null after the person was erased."""

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
    key: str = Field(description="The key that signs, as C2SP signed notes write it: `name+id+base64`.")
    keys: list[str] = Field(description="The same, and those that signed before.")


class ProveInclusion(Query):
    seq: Seq = Field(description="The place of the record.")
    size: Seq | None = Field(
        default=None, description="Of the tree; that of the newest checkpoint by default."
    )


class InclusionOut(Output):
    seq: int
    size: int
    leaf: Hash
    root: Hash
    proof: list[Hash]


class ProveConsistency(Query):
    since: Seq = Field(alias="from", description="The size of the checkpoint that you have kept.")
    until: Seq | None = Field(
        default=None, alias="to", description="A later size; that of the newest checkpoint by default."
    )


class ConsistencyOut(Output):
    size_before: int
    root_before: Hash
    size: int
    root: Hash
    proof: list[Hash]


VERIFY_RECORDS_MAX = 1_000_000


class VerifyLog(Query):
    since: Seq | None = Field(
        default=None, alias="from", description="The first record; the oldest by default."
    )
    limit: int = Field(
        default=100_000, ge=1, le=VERIFY_RECORDS_MAX, description="Records, up to a checkpoint."
    )


class FaultOut(Output):
    kind: str
    seq: int | None = Field(description="The first record concerned.")
    detail: str


class VerificationOut(Output):
    intact: bool
    first: int
    end: int = Field(description="The size of the checkpoint that the records were compared with.")
    size: int = Field(description="How many records the log has ever had.")
    records: int = Field(description="How many were checked.")
    seconds: float
    faults: list[FaultOut]
    remarks: list[str]
    next: int | None = Field(description="Where to go on: the next `from`; null at the end of the log.")


class PlaceHold(Input):
    reason: Annotated[Text, Field(max_length=500)]


class HoldOut(Output):
    user_id: str
    reason: str
    created: datetime
