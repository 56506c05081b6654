"""What the support service asks other services before it opens a session."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from services.support.review_schemas import PRODUCT, Key
from shared.caller import Caller
from shared.errors import FieldFault, InsufficientScope, Invalid
from shared.http.inputs import header
from shared.http.schemas import ID_PATTERN
from shared.peers.client import AnswerLate, Peer, PeerRefusal

READ_FILES, READ_ORDERS = "files:read", "orders:read"
FILES_SECONDS = 15.0  # for all files of a request together
_UNKNOWN = (404, 422)  # 422: not an account id


class Accounts(Peer):
    """The auth service."""


class Files(Peer):
    """The files service."""


class Orders(Peer):
    """The orders service."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file as the files service described it to the caller."""

    file_id: str
    name: str
    size: int
    mime_type: str


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files, and what is wrong with the ids of others.

    Faults are not raised before the handler runs: a repeated request whose response is stored gets that
    response, even if a file has been deleted since.
    """

    files: tuple[FoundFile, ...] = ()
    faults: tuple[FieldFault, ...] = ()

    def require_all(self) -> None:
        if self.faults:
            raise Invalid(errors=self.faults)


@dataclass(frozen=True, slots=True)
class Account:
    """An account at auth; without an id there is no such account."""

    user_id: str | None
    role: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True)
class Purchase:
    """Whether the caller has bought the product, if it is one."""

    is_made: bool


async def find_files(file_ids: Sequence[str], request: Request, caller: Caller, files: Files) -> FoundFiles:
    """Ask for the files as the caller, so that nobody attaches a file that they cannot see."""
    if not file_ids:
        return FoundFiles()
    if not caller.may(READ_FILES):
        raise InsufficientScope(READ_FILES)
    try:
        async with asyncio.timeout(FILES_SECONDS):
            return await _ask_for_files(file_ids, _token(request), files)
    except TimeoutError as error:
        raise AnswerLate from error


async def _ask_for_files(file_ids: Sequence[str], token: str, files: Files) -> FoundFiles:
    found, faults = list[FoundFile](), list[FieldFault]()
    for file_id in dict.fromkeys(file_ids):  # each once
        try:
            one = await files.call_as(token, "GET", f"/files/{file_id}/metadata")
        except PeerRefusal as refusal:
            if refusal.status != 404:
                raise
            field = f"attachments.{file_ids.index(file_id)}"
            message = "is not a file of yours; upload it first, and send its id"
            faults.append(FieldFault(field=field, code="unknown_file", message=message))
        else:
            found.append(FoundFile(file_id, one["name"], one["size"], one["mime_type"]))
    return FoundFiles(tuple(found), tuple(faults))


async def find_account(accounts: Accounts, user_id: str) -> Account:
    try:
        found = await accounts.call("GET", f"/internal/accounts/{user_id}")
    except PeerRefusal as refusal:
        if refusal.status in _UNKNOWN:
            return Account(None)
        raise
    return Account(found["id"], found["role"], found["status"])


async def find_purchase(key: Key, request: Request, caller: Caller, orders: Orders) -> Purchase:
    """Ask as the caller whether one of their orders has the product; nothing else needs to be bought."""
    if key.resource_type != PRODUCT:
        return Purchase(is_made=True)
    if not caller.may(READ_ORDERS):
        raise InsufficientScope(READ_ORDERS)
    if not re.fullmatch(ID_PATTERN, key.resource_id):
        return Purchase(is_made=False)  # no product has such an id
    try:
        await orders.call_as(_token(request), "GET", f"/orders/purchases/{key.resource_id}")
    except PeerRefusal as refusal:
        if refusal.status != 404:
            raise
        return Purchase(is_made=False)
    return Purchase(is_made=True)


def _token(request: Request) -> str:
    return header(request, b"authorization") or ""
