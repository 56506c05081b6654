"""All lists of all services with their filters, on tables of any size.

The rows are laid out as a worst case for the planner: half belong to one account and the ten oldest to
another, and rows with rare filter values are at the far end. A plan that reads row by row reads them all.
"""

import base64
import importlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_origin, get_type_hints

import psycopg
from sqlalchemy import Table
from sqlalchemy.engine import make_url
from sqlmodel import Session

from services.auth.lifecycle.invitations import Invitations
from services.inventory.models import JOBS as INVENTORY_JOBS
from services.notifications.mail.templates import TEMPLATES
from services.orders.models import WORK as ORDER_JOBS
from services.support.models import WORK as TICKET_JOBS
from shared.caller import Caller
from shared.data.database import Database, UtcDateTime
from shared.data.reading import Reader
from shared.http.operations import Operation
from shared.http.schemas import Page
from shared.identity.tokens import admin, public
from shared.lists.numbered import ByNumber, Numbered
from shared.lists.pagination import PageQuery
from shared.work.jobs import Jobs

SERVICES = sorted(file.parent.name for file in Path("services").glob("*/routes.py"))
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
FEW = 10
LARGE, SMALL, OTHER = (f"018cc251-f400-7000-8000-00000000{end}" for end in ("0a1e", "05ab", "0c0f"))


def row_id(number: int) -> str:
    """Return the id of the row created at this second."""
    digits = f"{int(BEGIN.timestamp() * 1000) + number * 1000:012x}"
    return f"{digits[:8]}-{digits[8:12]}-7000-8000-{number:012x}"


def cursor_at(key: str) -> str:
    """Return the cursor of the page after this row."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def moment(number: int) -> datetime:
    return BEGIN + timedelta(seconds=number)


@dataclass(frozen=True, slots=True)
class Lists:
    """A service's tables with row factories, and values for filters and path parameters, rare ones first."""

    rows: Mapping[str, Any]
    values: Mapping[str, tuple[str, ...]]
    injected: Mapping[str, Any] = field(default_factory=dict)  # into handlers, which use only methods
    for_admins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # filters by path
    only_admins: tuple[str, ...] = ()  # paths that everyone may call, but whose handlers refuse others


def _owner(number: int) -> str:
    return SMALL if number < FEW else LARGE if number % 2 else OTHER


def _order(number: int) -> dict[str, Any]:
    status = "returned" if number < 2 * FEW else "delivered"
    return {
        "id": row_id(number),
        "user_id": _owner(number),
        "product_name": "Laptop",
        "quantity": 1,
        "total_minor": 99999,
        "currency": "USD",
        "status": status,
        "version": 1,
        "created": moment(number),
        "updated": moment(number),
    }


def _invoice(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    return {
        "id": row_id(number),
        "order_id": row_id(number),
        "user_id": _owner(number),
        "kind": "credit_note" if is_rare else "invoice",
        "number": f"INV-2024-{number:06}",
        "total_minor": 99999,
        "currency": "USD",
        "snapshot": "{}",
        "template_version": 1,
        "pdf_sha256": None if is_rare else f"{number:064}",
        "issued": moment(number),
        "by": LARGE,
    }


def _report_job(number: int) -> dict[str, Any]:
    return {
        "id": row_id(number),
        "kind": "report",
        "subject": _owner(number),
        "owner": _owner(number),
        "state": "done",
        "input": "{}",
        "progress": 1,
        "version": 1,
        "cancel_asked": False,
        "attempts": 1,
        "created": moment(number),
        "ended": moment(number),
    }


def _announcement(number: int) -> dict[str, Any]:
    given = {"audience": "all", "type": "announcement", "title": "News", "content": "News.", "expires": None}
    return {**_report_job(number), "kind": "announcement", "subject": "all", "input": json.dumps(given)}


def _product(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    name = f"{'Needle' if is_rare else 'Laptop'} {number % 1000}"
    return {
        "id": row_id(number),
        "sku": f"SKU-{number:09}",
        "name": name,
        "description": "",
        "price_minor": 99999,
        "currency": "USD",
        "tax_basis_points": 0,
        "status": "draft" if is_rare else "archived" if number % 2 else "active",
        "track_stock": True,
        "backorder": False,
        "low_at": 5,
        "low": is_rare,
        "attributes": "{}",
        "search": f"sku-{number:09}\n{name.casefold()}",
        "version": 1,
        "created": moment(number),
        "updated": moment(number),
    }


def _level(number: int) -> dict[str, Any]:
    return {"product_id": row_id(number), "on_hand": 10, "reserved": 1, "low_at": 5, "backorder": False}


def _move(number: int) -> dict[str, Any]:
    which = FEW + 1 if number % 2 else number
    kind = {"kind": "reserve", "quantity": 1, "location": "main", "order_id": row_id(number)}
    ids = {"id": row_id(number), "product_id": row_id(which), "by": _owner(number)}
    return {**ids, **kind, "timestamp": moment(number)}


def _profile(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    email = f"{'needle' if is_rare else 'person'}{number}@example.com"
    status = "disabled" if is_rare else "deleted" if number % 2 else "active"
    return {
        "id": row_id(number),
        "email": email,
        "search": email,
        "role": "admin" if is_rare else "user",
        "status": status,
        "version": 1,
        "account_updated": moment(number),
        "created": moment(number),
        "updated": moment(number),
    }


def _setting(number: int) -> dict[str, Any]:
    return {
        "id": row_id(number),
        "owner": "" if number % 3 == 0 else _owner(number),
        "key": f"key.{number}",
        "value": "1",
        "type": "number",
        "changed_by": LARGE,
        "version": 1,
        "created": moment(number),
        "updated": moment(number),
    }


def _member(number: int) -> dict[str, Any]:
    return {
        "user_id": row_id(number),
        "skills": "[]",
        "links": "{}",
        "visibility": "public",
        "field_visibility": "{}",
        "is_active": True,
        "version": 1,
        "created": moment(number),
        "updated": moment(number),
    }


def _card(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    name = f"{'needle' if is_rare else 'person'}{number}"
    shown = {"user_id": row_id(number), "name": name, "skills": [], "links": {}, "version": 1}
    hidden = ("department", "position", "bio", "visibility", "field_visibility", "is_active")
    return {
        "id": row_id(number),
        "user_id": row_id(number),
        "audience": ("public", "internal", "everything")[number % 3],
        "department": "rare" if is_rare else "common",
        "department_name": "Rare" if is_rare else "Common",
        "search": name,
        "card": json.dumps({**shown, **dict.fromkeys(hidden)}),
    }


def _card_skill(number: int) -> dict[str, Any]:
    audience = ("public", "internal", "everything")[number % 3]
    return {"audience": audience, "skill": "rare" if number < 2 * FEW else "common", "id": row_id(number)}


def _account(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    return {
        "id": row_id(number),
        "email": f"person{number}@example.com",
        "username": f"Person{number}",
        "username_key": f"person{number}",
        "role": "admin" if is_rare else "user",
        "status": "suspended" if is_rare else "deleted" if number % 2 else "active",
        "token_version": 0,
        "created": moment(number),
        "updated": moment(number),
    }


def _blob(number: int) -> dict[str, Any]:
    return {"key": f"{number:032x}", "user_id": _owner(number), "reserved": 1, "state": "kept"}


def _file(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    name = f"{'needle' if is_rare else 'Report'} {number % 1000}.pdf"
    return {
        "id": row_id(number),
        "user_id": _owner(number),
        "name": name,
        "folded_name": name.casefold(),
        "mime_type": "image/png" if is_rare else "application/pdf",
        "size": 1,
        "sha256": "0" * 64,
        "visibility": "private" if number % 3 == 0 else "public",
        "details": "{}",
        "state": "ready",
        "blob_key": f"{number:032x}",
        "version": 1,
        "created": moment(number),
        "updated": moment(number),
        "trashed": moment(number) if number % 10 == 9 else None,
    }


def _upload(number: int) -> dict[str, Any]:
    return {
        "id": row_id(number),
        "user_id": _owner(number),
        "blob_key": f"{number:032x}",
        "length": 1,
        "received": 0,
        "metadata_header": "",
        "created": moment(number),
        "expires": datetime(2999, 1, 1, tzinfo=UTC),
    }


def _record(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    return {
        "seq": number,
        "received": moment(number),
        "id": row_id(number),
        "status": 200,
        "action": "FILE_UPLOAD" if is_rare else "SHOW_USER",
        "service": "files",
        "outcome": "refused" if is_rare else "success",
        "user_id": _owner(number),
        "actor": "user",
        "resource": "the-file" if is_rare else "users",
        "timestamp": moment(number),
        "origin": "0" * 64,
        "details": "0" * 64,
    }


def _personal(number: int) -> dict[str, Any]:
    return {"seq": number, "received": moment(number), "ip": "127.0.0.1", "metadata": "{}"}


def _hold(number: int) -> dict[str, Any]:
    return {"user_id": row_id(number), "reason": "a case", "created": moment(number)}


def _workspace(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    name = f"{'needle' if is_rare else 'person'}{number % 1000}"
    return {
        "id": row_id(number),
        "workspace_id": f"ws-{number:09}",
        "account": SMALL if is_rare else LARGE,
        "region": "us-east-1" if is_rare else "eu-central-1",
        "directory_id": "d-few" if is_rare else "d-most",
        "user_name": name,
        "state": "ERROR" if is_rare else "AVAILABLE",
        "state_changed": moment(number),
        "bundle_id": "wsb-few" if is_rare else "wsb-most",
        "running_mode": "ALWAYS_ON" if is_rare else "AUTO_STOP",
        "protocols": "[]",
        "encrypted_root": True,
        "encrypted_user": True,
        "connection_state": "DISCONNECTED",
        "last_connection": moment(number),
        "tags": '{"team": "red"}',
        "first_seen": moment(number),
        "last_seen": moment(number),
        "gone": moment(number) if is_rare else None,
        "presence": "gone" if is_rare else "present",
        "search": f"ws-{number:09}\n{name}\nred",
        "version": 1,
        "updated": moment(number),
    }


def _tag(number: int) -> dict[str, Any]:
    return {"id": row_id(number), "key": "team", "value": "blue" if number < 2 * FEW else "red"}


def _change(number: int) -> dict[str, Any]:
    which = FEW + 1 if number % 2 else number
    row = {"id": row_id(number), "workspace_id": f"ws-{which:09}", "at": moment(number)}
    return {**row, "field": "state", "before": "STOPPED", "after": "AVAILABLE"}


def _event(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    who = {
        "name": "CreateWorkspaces" if is_rare else "StopWorkspaces",
        "username": "ann" if is_rare else "ops",
    }
    row = {"id": row_id(number), "event_id": f"event {number}", "account": LARGE, "region": "eu-central-1"}
    written = {"workspaces": "[]", "request": "null", "response": "null", "identity": "null"}
    return {**row, **who, **written, "at": moment(number)}


def _event_workspace(number: int) -> dict[str, Any]:
    which = FEW + 2 if number < 2 * FEW else FEW + 1
    return {"workspace_id": f"ws-{which:09}", "id": row_id(number)}


def _cost(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    keys = {"account": LARGE, "service": "Amazon WorkSpaces", "region": "", "unit": "Hrs", "currency": "USD"}
    numbers = dict.fromkeys(("amount_whole", "amount_part", "quantity_whole", "quantity_part"), 1)
    return {
        **keys,
        **numbers,
        "id": row_id(number),
        "day": f"{moment(number):%Y-%m-%d}",
        "workspace_id": f"ws-{FEW + 2 if is_rare else FEW + 1:09}",
        "usage_type": "Monthly" if is_rare else "AutoStop",
        "estimated": False,
        "pulled": moment(number),
    }


def _usage(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    return {
        "id": row_id(number),
        "workspace_id": f"ws-{FEW + 2 if is_rare else FEW + 1:09}",
        "account": LARGE,
        "month": f"{moment(number):%Y-%m}",
        "source": "metrics",
        "hours": number,
        "updated": moment(number),
    }


def _advice(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    return {
        "id": row_id(number),
        "workspace_id": f"ws-{number:09}",
        "account": SMALL if is_rare else LARGE,
        "kind": "unused" if is_rare else "to_auto_stop",
        "state": "accepted" if is_rare else "open",
        "basis": "{}",
        "found": moment(number),
        "updated": moment(number),
        "version": 1,
    }


def _aws_change(number: int) -> dict[str, Any]:
    return {
        "id": row_id(number),
        "workspace_id": f"ws-{number:09}",
        "account": LARGE,
        "region": "eu-central-1",
        "wanted": "{}",
        "before": "{}",
        "state": "failed" if number < 2 * FEW else "done",
        "created": moment(number),
        "updated": moment(number),
        "version": 1,
    }


def _sync(number: int) -> dict[str, Any]:
    state = {"kind": "all", "trigger": "schedule", "state": "completed"}
    totals = dict.fromkeys(("seen", "changed", "gone", "api_calls"), 1)
    return {"id": row_id(number), **state, **totals, "created": moment(number), "finished": moment(number)}


def _part(number: int) -> dict[str, Any]:
    place = {"account": LARGE, "region": "eu-central-1", "source": "workspaces", "state": "done"}
    counts = dict.fromkeys(("seen", "changed", "gone", "calls", "throttled"), 1)
    return {"sync": row_id(number // 2), "number": number % 2, **place, **counts, "missing": "[]"}


def _aws_account(number: int) -> dict[str, Any]:
    """Return an account; all but a few are deleted, because the list of accounts is not paged."""
    return {
        "id": row_id(number),
        "name": f"account {number}",
        "regions": '["eu-central-1"]',
        "is_default": False,
        "status": "connected",
        "status_detail": "[]",
        "deleted": None if number < FEW else moment(number),
        "version": 1,
        "created": moment(number),
        "updated": moment(number),
    }


def _notification(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW or number == FEW * 100 + 1
    return {
        "id": row_id(number),
        "user_id": _owner(number),
        "type": "message" if is_rare else "order.placed",
        "title": "Your order was placed",
        "content": "You ordered Laptop, quantity 1.",
        "severity": "info",
        "data": "{}",
        "is_read": not is_rare,
        "created": moment(number),
    }


def _delivery(number: int) -> dict[str, Any]:
    state = "failed" if number < 2 * FEW else "sent"
    names = {"channel": "email", "template": "notice", "to_hash": f"{number:064}", "state": state}
    return {
        "id": row_id(number),
        "user_id": _owner(number),
        **names,
        "attempts": 1,
        "created": moment(number),
    }


def _mail_text(number: int) -> dict[str, Any]:
    # The few that the lists show are at the far end; a name is that of a template, and of its language.
    names = [f"{name}{end}" for name in TEMPLATES for end in ("", ".de")]
    name = names[number] if number < len(names) else f"unknown_{number}"
    return {
        "name": name,
        "subject": "Needle" if number < len(names) else "Parcel",
        "body": "Needle",
        "version": 1,
        "by": LARGE,
        "updated": moment(number),
    }


def _suppression(number: int) -> dict[str, Any]:
    return {
        "id": row_id(number),
        "to_hash": f"{number:064}",
        "channel": "sms" if number < 2 * FEW else "email",
        "reason": "admin" if number < 2 * FEW else "bounce",
        "created": moment(number),
    }


def _webhook(number: int) -> dict[str, Any]:
    return {
        "id": row_id(number),
        "user_id": _owner(number),
        "url": "https://hooks.example.com",
        "description": "",
        "types": '["order.placed"]',
        "is_enabled": True,
        "sealed": "s1.",
        "failures": 0,
        "created": moment(number),
        "updated": moment(number),
    }


def _webhook_message(number: int) -> dict[str, Any]:
    return {
        "id": row_id(number),
        "webhook_id": row_id(FEW + 1 + number % 2),
        "user_id": LARGE,
        "type": "order.placed",
        "body": "{}",
        "state": "failed" if number < 2 * FEW else "delivered",
        "attempts": 1,
        "created": moment(number),
    }


def _ticket(number: int) -> dict[str, Any]:
    is_rare = number < 2 * FEW
    subject = "Needle" if is_rare else "Parcel"
    return {
        "id": row_id(number),
        "number": f"2024-{number:06}",
        "user_id": _owner(number),
        "subject": subject,
        "description": "",
        "status": "resolved" if is_rare else "closed",
        "priority": "urgent" if is_rare else "low",
        "category": "rare" if is_rare else "common",
        "assigned_to": SMALL if is_rare else LARGE,
        "first_reply_due": moment(number),
        "resolve_due": moment(number),
        "reopened_count": 0,
        "reply_count": 0,
        "note_count": 0,
        "tags": "[]",
        "first_reply_told": False,
        "resolve_told": False,
        "is_overdue": is_rare,
        "search": f"2024-{number:06}\n{subject.casefold()}\n",
        "version": 1,
        "created": moment(number),
        "updated": moment(number),
    }


def _ticket_tag(number: int) -> dict[str, Any]:
    return {"tag": "rare" if number < 2 * FEW else "common", "id": row_id(number)}


def _reply(number: int) -> dict[str, Any]:
    ticket = FEW + 1 if number % 2 else number
    row = {"id": row_id(number), "ticket_id": row_id(ticket), "user_id": _owner(number)}
    return {**row, "is_staff": True, "is_internal": number % 4 == 1, "content": "", "created": moment(number)}


def _ticket_step(number: int) -> dict[str, Any]:
    ticket = FEW + 1 if number % 2 else number
    ids = {"id": row_id(number), "ticket_id": row_id(ticket), "by": LARGE}
    return {**ids, "status": "open", "timestamp": moment(number)}


def _staff(number: int) -> dict[str, Any]:
    return {"user_id": row_id(number), "added_by": LARGE, "created": moment(number)}


def _review(number: int) -> dict[str, Any]:
    return {
        "id": row_id(number),
        "resource_type": "product",
        "resource_id": row_id(number if number % 2 else 0),
        "user_id": _owner(number) if number % 2 else row_id(number),
        "rating": 5,
        "title": "Good",
        "content": "",
        "status": "hidden" if number < 2 * FEW else "approved",
        "helpful_count": 0,
        "report_count": 0,
        "version": 1,
        "created": moment(number),
        "updated": moment(number),
    }


def _report(number: int) -> dict[str, Any]:
    ids = {"review_id": row_id(FEW + 1 if number % 2 else number), "user_id": row_id(number)}
    return {**ids, "reason": "Rude", "is_settled": False, "created": moment(number)}


_TIMES = (moment(FEW).isoformat(), "2999-01-01T00:00:00+00:00")
LISTS = {
    "auth": Lists(
        {"ACCOUNTS": _account},
        {
            "email": ("person1@example.com", "person500@example.com"),
            "username": ("person1", "Person500"),
            "role": ("admin", "user"),
            "status": ("suspended", "active", "deleted"),
        },
        {"invitations": object.__new__(Invitations)},
    ),
    "orders": Lists(
        {
            "ORDERS": _order,
            "INVOICES": _invoice,
            "PRODUCTS": _product,
            "LEVELS": _level,
            "MOVES": _move,
            "JOBS": _report_job,
        },
        {
            "user_id": (SMALL, LARGE),
            "status": ("returned", "delivered"),
            "order_id": (row_id(FEW + 1),),
            "product_id": (row_id(FEW + 1),),
            "/products?status": ("draft", "active", "archived"),  # of this list alone
            "low": ("true", "false"),
            "search": ("needle", "laptop", "no"),
            "year": ("2023", "2024"),
            "kind": ("credit_note", "invoice"),
        },
        injected={"jobs": Jobs(ORDER_JOBS, {})},
        for_admins={"/products": ("status",)},
    ),
    "users": Lists(
        {
            "PROFILES": _profile,
            "SETTINGS": _setting,
            "MEMBERS": _member,
            "CARDS": _card,
            "CARD_SKILLS": _card_skill,
        },
        {
            "department": ("rare", "common"),
            "skill": ("rare", "common"),
            "search": ("needle", "person", "no"),
            "q": ("needle", "example", "no"),
            "role": ("admin", "user"),
            "status": ("disabled", "active", "deleted"),
        },
    ),
    "files": Lists(
        {"BLOBS": _blob, "FILES": _file, "UPLOADS": _upload},
        {
            "name": ("needle 1.pdf", "Report 500.pdf"),
            "search": ("needle", "report", "no"),
            "type": ("image/png", "image/*", "application/*"),
            "visibility": ("private", "public"),
            "created_from": _TIMES,
            "created_before": _TIMES,
            "file_id": (row_id(FEW + 1),),
        },
        {
            "request": None,
            "settings": SimpleNamespace(public_url="https://api.example.com", storage_type="local"),
        },
    ),
    "notifications": Lists(
        {
            "NOTIFICATIONS": _notification,
            "DELIVERIES": _delivery,
            "MAIL_TEXTS": _mail_text,
            "SUPPRESSIONS": _suppression,
            "WEBHOOKS": _webhook,
            "WEBHOOK_DELIVERIES": _webhook_message,
            "JOBS": _announcement,
        },
        {
            "unread": ("true", "false"),
            "type": ("message", "order.placed"),
            "state": ("failed", "sent"),
            "user_id": (SMALL, LARGE),
            "channel": ("sms", "email"),
            "reason": ("admin", "bounce"),
            "language": ("de", "en"),
            "webhook_id": (row_id(FEW + 1),),
            "/notifications/webhooks/{webhook_id}/messages?state": ("failed", "delivered"),
        },
    ),
    "support": Lists(
        {
            "TICKETS": _ticket,
            "TICKET_TAGS": _ticket_tag,
            "REPLIES": _reply,
            "STEPS_TAKEN": _ticket_step,
            "STAFF": _staff,
            "REVIEWS": _review,
            "REPORTS": _report,
            "JOBS": _report_job,
        },
        {
            "status": ("resolved", "closed"),
            "priority": ("urgent", "low"),
            "category": ("rare", "common"),
            "overdue": ("true", "false"),
            "assigned_to": (SMALL, LARGE),
            "tag": ("rare", "common"),
            "user_id": (SMALL, LARGE),
            "search": ("needle", "parcel", "no"),
            "ticket_id": (row_id(FEW + 1),),
            "resource_id": (row_id(1), row_id(0)),
            "resource_type": ("course", "product"),
            "review_id": (row_id(FEW + 1),),
            "/reviews/moderation?status": ("hidden", "approved"),  # of this list alone
        },
        only_admins=(
            *("/reviews/moderation", "/reviews/{review_id}/reports", "/tickets/staff", "/classic/tickets"),
        ),
        injected={"jobs": Jobs(TICKET_JOBS, {})},
        for_admins={"/tickets": ("tag",)},
    ),
    "audit": Lists(
        {"RECORDS": _record, "PERSONAL": _personal, "HOLDS": _hold},
        {
            "user_id": (SMALL, LARGE),
            "action": ("FILE_UPLOAD", "SHOW_USER"),
            "resource": ("the-file", "users"),
            "outcome": ("refused", "success"),
            "from": _TIMES,
            "to": _TIMES,
        },
    ),
    "inventory": Lists(
        {
            "ACCOUNTS": _aws_account,
            "WORKSPACES": _workspace,
            "TAGS": _tag,
            "CHANGES": _change,
            "TRAIL": _event,
            "TRAIL_WORKSPACES": _event_workspace,
            "USAGE_MONTHS": _usage,
            "ADVICE": _advice,
            "AWS_CHANGES": _aws_change,
            "COSTS": _cost,
            "SYNCS": _sync,
            "PARTS": _part,
            "JOB_ROWS": _report_job,
        },
        {
            "state": ("ERROR", "AVAILABLE"),
            "running_mode": ("ALWAYS_ON", "AUTO_STOP"),
            "user_name": ("needle1", "person500"),
            "directory": ("d-few", "d-most"),
            "bundle": ("wsb-few", "wsb-most"),
            "account": (SMALL, LARGE),
            "region": ("us-east-1", "eu-central-1"),
            "tag": ("team:blue", "team:red"),
            "gone": ("true", "false"),
            "unused_days": ("3650", "30"),
            "search": ("needle", "person", "no"),
            "workspace_id": (f"ws-{FEW + 2:09}", f"ws-{FEW + 1:09}"),
            "name": ("CreateWorkspaces", "StopWorkspaces"),
            "username": ("ann", "ops"),
            "start": _TIMES,
            "end": _TIMES,
            "/advice?state": ("accepted", "open"),  # of this list alone
            "/admin/changes?state": ("failed", "done"),
            "kind": ("unused", "to_auto_stop"),
            "usage_type": ("Monthly", "AutoStop"),
            "month_from": ("2099-12", "2024-01"),
            "month_to": ("2023-12", "2024-01"),
            "start_date": ("2024-01-01", "2999-01-01"),
            "end_date": ("2024-01-01", "2999-01-01"),
        },
        injected={"jobs": Jobs(INVENTORY_JOBS, {}, shown=["report"])},
    ),
}


def _caller(user_id: str, role: str) -> Caller:
    return Caller(user_id, role, None, None, None, frozenset(), 0.0)


CALLERS = {
    "anonymous": None,
    "small": _caller(SMALL, "user"),
    "large": _caller(LARGE, "user"),
    "admin": _caller(OTHER, "admin"),
}


@cache
def _hints(handler: Callable[..., Any]) -> dict[str, Any]:
    return get_type_hints(handler)


@dataclass(frozen=True, slots=True)
class Question:
    """One request for one list."""

    operation: Operation
    path: Mapping[str, str]
    query: Mapping[str, str]
    caller: str
    injected: Mapping[str, Any]

    def __str__(self) -> str:
        asked = "&".join(f"{name}={value}" for name, value in {**self.path, **self.query}.items())
        return f"{self.caller} {self.operation.path}?{asked}"

    def ask(self, session: Session) -> Any:
        """Call the handler like the endpoint does."""
        hints = _hints(self.operation.handler)
        arguments: dict[str, Any] = {"session": session, "caller": CALLERS[self.caller], **self.path}
        arguments |= self.injected
        if "query" in hints:
            arguments["query"] = hints["query"].model_validate(dict(self.query))
        return self.operation.handler(**{name: arguments[name] for name in hints if name != "return"})

    @property
    def is_paged(self) -> bool:
        """Whether the list has further pages: a query may only choose, such as a language."""
        query = _hints(self.operation.handler).get("query")
        return query is not None and not {"cursor", "page", "limit", "offset"}.isdisjoint(query.model_fields)

    @property
    def is_numbered(self) -> bool:
        return is_numbered(self.operation)

    @property
    def asks_nothing(self) -> bool:
        """Whether the handler needs no query to return []: private files for an anonymous caller."""
        return self.caller == "anonymous" and self.query.get("visibility") == "private"

    def on_page_after(self, cursor: str) -> "Question":
        """Return the question for a later page; pages with numbers end where their window does."""
        later = {"page": "2"} if self.is_numbered else {"cursor": cursor}
        return Question(self.operation, self.path, {**self.query, **later}, self.caller, self.injected)


def operations_of(service: str) -> list[Operation]:
    operations: list[Operation] = importlib.import_module(f"services.{service}.routes").OPERATIONS
    return operations


def lists_of(service: str) -> list[Operation]:
    return [one for one in operations_of(service) if one.method == "GET" and _is_list(one)]


def _is_list(operation: Operation) -> bool:
    hints = _hints(operation.handler)
    answer = hints["return"]
    if not any(kind in (Session, Reader) for kind in hints.values()):
        return False  # the list does not come from the database, such as the files of a folder
    if get_origin(answer) is list:
        return True
    return isinstance(answer, type) and issubclass(answer, Page | Numbered)


def is_numbered(operation: Operation) -> bool:
    answer = _hints(operation.handler)["return"]
    return isinstance(answer, type) and issubclass(answer, Numbered)


def filters_of(operation: Operation) -> list[str]:
    query = _hints(operation.handler).get("query")
    if query is None:
        return []
    pages = {*PageQuery.model_fields, *ByNumber.model_fields}
    return [field.alias or name for name, field in query.model_fields.items() if name not in pages]


def questions(service: str, operation: Operation) -> Iterator[Question]:
    """Yield requests with no filter, with every value of every filter, and with every pair of filters."""
    values = LISTS[service].values
    names = filters_of(operation)
    if "sessions" in _hints(operation.handler):
        return  # such a list is short, and the handler checks the caller's session first
    in_path = {name: values[name][-1] for name in re.findall(r"{(\w+)}", operation.path)}
    values = {name: values.get(f"{operation.path}?{name}", values.get(name, ())) for name in names}
    fields = {} if not names else _hints(operation.handler)["query"].model_fields
    required = {name: values[name][-1] for name in names if name in fields and fields[name].is_required()}
    alone = [{}, *({name: value} for name in names for value in values[name])]
    pairs = [
        {one: first, two: second}
        for one, two in itertools.combinations(names, 2)
        for first in values[one][:2]
        for second in values[two][:2]
    ]
    refused = set(LISTS[service].for_admins.get(operation.path, ()))
    only_admins = operation.path in LISTS[service].only_admins
    for caller in ["admin"] if only_admins else _callers(operation):
        for query in [*alone, *pairs]:
            if caller != "admin" and refused & query.keys():
                continue
            if caller == "admin" or query.get("user_id") in (None, getattr(CALLERS[caller], "id", None)):
                yield Question(operation, in_path, required | query, caller, LISTS[service].injected)


def _callers(operation: Operation) -> list[str]:
    hints = _hints(operation.handler)
    if operation.access is admin or "caller" not in hints:
        return ["admin"]
    owner_only = "{" in operation.path
    is_open = operation.access is public and type(None) in get_args(hints["caller"])
    return ["large"] if owner_only else [*(["anonymous"] if is_open else []), "small", "large", "admin"]


def tables(service: str) -> dict[Table, Any]:
    models = importlib.import_module(f"services.{service}.models")
    return {getattr(models, name): make for name, make in LISTS[service].rows.items()}


def fill(service: str, url: str, rows: int) -> None:
    """Insert `rows` rows into every table of the service's lists, and run ANALYZE."""
    for table, make in tables(service).items():
        columns = list(make(0))
        every = (list(make(number).values()) for number in range(rows))
        if url.startswith("sqlite"):
            _insert(url, table, columns, every)
        else:
            _copy(url, table, columns, every)
    database = Database(url)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    database.close()


def _insert(url: str, table: Table, columns: list[str], rows: Iterator[list[Any]]) -> None:
    database = Database(url)
    marks = ", ".join("?" * len(columns))
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"
    with database.transaction() as session:
        driver: Any = session.connection().connection.driver_connection
        times = [place for place, name in enumerate(columns) if isinstance(table.c[name].type, UtcDateTime)]
        driver.executemany(statement, (_with_texts(row, times) for row in rows))
    database.close()


def _with_texts(row: list[Any], times: list[int]) -> list[Any]:
    for place in times:
        if row[place] is not None:
            row[place] = row[place].isoformat(timespec="microseconds")
    return row


def _copy(url: str, table: Table, columns: list[str], rows: Iterator[list[Any]]) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        if table.name in ("records", "personal"):  # one partition is enough here
            connection.execute("CREATE SCHEMA IF NOT EXISTS partitions")
            name = f"partitions.{table.name}_all"
            connection.execute(f"CREATE TABLE {name} PARTITION OF {table.name} DEFAULT".encode())
        copying = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN".encode()
        with connection.cursor().copy(copying) as copy:
            for row in rows:
                copy.write_row(row)
