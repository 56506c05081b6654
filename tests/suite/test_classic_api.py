"""The 60 operations of the older system below /api/v1: each once as its clients call it, and once wrongly."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from shared.ids import new_id
from shared.testing import bearer
from tests.suite.accounts import register, sign_in_admin
from tests.suite.conftest import Suite

OPERATIONS = 60
STRONG, NEW_PASSWORD = "Correct4horse", "Battery5staple"
VERIFIER, REDIRECT = "v" * 43, "https://app.example/callback"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")

# A shape is a type, a list of one shape, or the fields of an object; a field with "?" may be null or missing.
Shape = Any
TEXT, NUMBER, YES_OR_NO = str, int, bool
PAGE = {"total": NUMBER, "page": NUMBER, "limit": NUMBER, "total_pages": NUMBER}
TIMES = {"created_at": TEXT, "updated_at": TEXT}
USER = {
    "id": TEXT,
    "email": TEXT,
    "first_name?": TEXT,
    "last_name?": TEXT,
    "phone?": TEXT,
    "avatar?": TEXT,
    "role": TEXT,
    "status": TEXT,
    "email_verified": YES_OR_NO,
    "phone_verified": YES_OR_NO,
    **TIMES,
}
CLIENT = {
    "id": TEXT,
    "client_id": TEXT,
    "client_secret?": TEXT,
    "name": TEXT,
    "description?": TEXT,
    "redirect_uris": [TEXT],
    "scopes": [TEXT],
    "grant_types": [TEXT],
    "is_public": YES_OR_NO,
    "is_active": YES_OR_NO,
    "created_by": TEXT,
    **TIMES,
}
NOTIFICATION = {
    "id": TEXT,
    "user_id": TEXT,
    "type": TEXT,
    "channel": TEXT,
    "title": TEXT,
    "content": TEXT,
    "is_read": YES_OR_NO,
    "read_at?": TEXT,
    "status": TEXT,
    **TIMES,
}
REVIEW = {
    "id": TEXT,
    "resource_type": TEXT,
    "resource_id": TEXT,
    "user_id": TEXT,
    "rating": NUMBER,
    "title": TEXT,
    "content": TEXT,
    "status": TEXT,
    **TIMES,
}
SETTING = {
    "id": TEXT,
    "user_id?": TEXT,
    "key": TEXT,
    "value": TEXT,
    "type": TEXT,
    "is_encrypted": YES_OR_NO,
    "description?": TEXT,
    "is_system": YES_OR_NO,
    **TIMES,
}
FILE = {
    "id": TEXT,
    "user_id?": TEXT,
    "file_name": TEXT,
    "original_name": TEXT,
    "mime_type": TEXT,
    "size": NUMBER,
    "storage_type": TEXT,
    "visibility": TEXT,
    "metadata?": dict,
    "download_url": TEXT,
    **TIMES,
}
TICKET = {
    "id": TEXT,
    "user_id": TEXT,
    "subject": TEXT,
    "description": TEXT,
    "status": TEXT,
    "priority": TEXT,
    "category?": TEXT,
    "assigned_to?": TEXT,
    "resolved_at?": TEXT,
    "closed_at?": TEXT,
    **TIMES,
    "reply_count?": NUMBER,
}
REPLY = {
    "id": TEXT,
    "ticket_id": TEXT,
    "user_id": TEXT,
    "is_staff": YES_OR_NO,
    "content": TEXT,
    **TIMES,
    "deleted_at?": TEXT,
}
TOKENS = {"access_token": TEXT, "token_type": TEXT, "expires_in": NUMBER, "refresh_token?": TEXT}
META = {
    "timestamp": TEXT,
    "request_id": TEXT,
    "version": TEXT,
    "actor": {"user_id?": TEXT, "client_id?": TEXT, "role?": TEXT},
}
NOTHING: Shape = {}
BYTES: Shape = bytes
DATABASE = {"healthy": YES_OR_NO, "stats": {"open_connections": NUMBER, "in_use": NUMBER, "idle": NUMBER}}
DEPENDENCY = {"healthy?": YES_OR_NO, "note?": TEXT}  # the note says what is not used
STATUS = {
    "status": TEXT,
    "timestamp": TEXT,
    "app": {"name": TEXT, "version": TEXT, "env": TEXT},
    "services": {"database": DATABASE, "redis": DEPENDENCY, "nats": DEPENDENCY},
}


@dataclass(frozen=True)
class Wrong:
    """A call that must be refused: what differs from the right one, and the expected status."""

    status: int
    body: Any = None  # by default that of the right call
    path: str | None = None
    who: str | None = None
    method: str | None = None


@dataclass(frozen=True)
class Call:
    """One operation; `{name}` in paths and texts is what an earlier call or the preparation has kept."""

    method: str
    path: str
    who: str  # nobody, user or admin
    shape: Shape
    wrong: Wrong
    body: Any = None
    status: int = 200
    query: str = ""
    keep: Mapping[str, str] = field(default_factory=dict)  # by name: where it is in `data`
    beyond: tuple[str, ...] = ()  # fields that the older system did not have


def page(name: str, one: Shape, **more: Shape) -> Shape:
    return {name: [one], **PAGE, **more}


UNKNOWN = new_id()
NAMES = {"first_name": "Ada", "last_name": "Lovelace"}
REGISTRATION = {"email": "{email}", "password": STRONG, **NAMES}
NEW_CLIENT = {
    "name": "Ledgerline",
    "redirect_uris": [REDIRECT],
    "scopes": ["openid", "read"],
    "grant_types": ["authorization_code", "refresh_token"],
}
AUTHORIZE = {
    "client_id": "{client_id}",
    "redirect_uri": REDIRECT,
    "response_type": "code",
    "state": "some state",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
    "scope": "openid read",
}
REDEEM = {
    "grant_type": "authorization_code",
    "client_id": "{client_id}",
    "client_secret": "{client_secret}",
    "code": "{code}",
    "redirect_uri": REDIRECT,
    "code_verifier": VERIFIER,
}
INTROSPECTED = {
    "active": YES_OR_NO,
    "scope?": TEXT,
    "client_id?": TEXT,
    "user_id?": TEXT,
    "token_type?": TEXT,
    "exp?": NUMBER,
    "iat?": NUMBER,
}
ONE_REVIEW = {"rating": 4, "title": "Light", "content": "I have used it every day."}
NEW_REVIEW = {"resource_type": "product", "resource_id": "{product}", **ONE_REVIEW}
NEW_SETTING = {"key": "site.notice", "value": "We are moving house.", "type": "string"}
ONE_SETTING = {"value": "true", "type": "boolean"}
NEW_TICKET = {
    "subject": "The parcel is damaged",
    "description": "One corner is open.",
    "priority": "high",
    "category": "delivery",
}
TEST_SMS = {"to": "+4930123456", "body": "It arrived."}
TEST_EMAIL = {"to": "ann@example.com", "subject": "A test", "body": "It arrived."}

SIGN_IN = [
    Call("GET", "/health", "nobody", {"status": TEXT, "time": TEXT}, Wrong(405, method="POST")),
    Call("GET", "/status", "nobody", STATUS, Wrong(405, method="POST")),
    Call(
        *("POST", "/users/register", "nobody", {"user": USER}),
        Wrong(422, {**REGISTRATION, "last_name": ""}),
        REGISTRATION,
        status=201,
        keep={"user_id": "user.id"},
    ),
    Call(
        *("POST", "/users/login", "nobody", {**TOKENS, "user": USER}),
        Wrong(401, {"email": "{email}", "password": "wrong"}),
        {"email": "{email}", "password": STRONG},
        keep={"token": "access_token"},
    ),
]
ACCOUNTS = [
    Call("GET", "/users/me", "user", {"user": USER}, Wrong(401, who="nobody")),
    Call(
        "PUT", "/users/me", "user", {"user": USER}, Wrong(422, {"first_name": "Ada"}), {**NAMES, "phone": ""}
    ),
    Call("GET", "/users", "admin", page("users", USER), Wrong(403, who="user"), query="?page=1&limit=2"),
    Call("GET", "/users/{other}", "admin", {"user": USER}, Wrong(404, path=f"/users/{UNKNOWN}")),
    Call("PUT", "/users/{other}", "admin", {"user": USER}, Wrong(422, {"first_name": "Ada"}), NAMES),
    Call(
        *("PUT", "/users/{other}/status", "admin", {"status": TEXT}, Wrong(422, {"status": "deleted"})),
        {"status": "inactive"},
    ),
    Call("DELETE", "/users/{other}", "admin", NOTHING, Wrong(403, who="user")),
]
CLIENTS = [
    Call(
        *("POST", "/clients", "admin", {**CLIENT, "client_secret": TEXT}),
        Wrong(422, {**NEW_CLIENT, "redirect_uris": ["http://app.example"]}),
        NEW_CLIENT,
        status=201,
        keep={"client": "id", "client_id": "client_id"},
    ),
    Call("GET", "/clients", "admin", page("clients", CLIENT), Wrong(403, who="user")),
    Call("GET", "/clients/{client}", "admin", CLIENT, Wrong(404, path=f"/clients/{UNKNOWN}")),
    Call(
        *("PUT", "/clients/{client}", "admin", CLIENT, Wrong(422, {**NEW_CLIENT, "scopes": ["unknown"]})),
        {**NEW_CLIENT, "description": ""},
    ),
    Call(
        *("POST", "/clients/{client}/regenerate-secret", "admin", {"client_secret": TEXT}),
        Wrong(404, path=f"/clients/{UNKNOWN}/regenerate-secret"),
        keep={"client_secret": "client_secret"},
    ),
    Call(
        *("PUT", "/clients/{client}/status", "admin", {"is_active": YES_OR_NO}, Wrong(422, {})),
        {"is_active": True},
    ),
]
OAUTH = [
    Call(
        *("POST", "/oauth/authorize", "user", {"code": TEXT, "state?": TEXT}),
        Wrong(400, {**AUTHORIZE, "redirect_uri": f"{REDIRECT}.evil.example"}),
        AUTHORIZE,
        keep={"code": "code"},
    ),
    Call(
        *("POST", "/oauth/token", "nobody", {**TOKENS, "scope?": TEXT}),
        Wrong(401, {**REDEEM, "client_secret": "wrong"}),
        REDEEM,
        keep={"app_token": "access_token"},
        beyond=("id_token",),
    ),
    Call(
        *("POST", "/oauth/introspect", "user", INTROSPECTED, Wrong(422, {})),
        {"token": "{app_token}", "token_type_hint": "access_token"},
    ),
    Call(
        "POST", "/oauth/revoke", "user", NOTHING, Wrong(400, {"token": "unknown"}), {"token": "{app_token}"}
    ),
    Call("DELETE", "/clients/{client}", "admin", NOTHING, Wrong(404, path=f"/clients/{UNKNOWN}")),
]
NOTIFICATIONS = [
    Call(
        *("GET", "/notifications", "user", page("notifications", NOTIFICATION, unread=NUMBER)),
        Wrong(422, path="/notifications?limit=0"),
        keep={"notice": "notifications.0.id"},
    ),
    Call("GET", "/notifications/{notice}", "user", NOTIFICATION, Wrong(404, who="admin")),
    Call("PUT", "/notifications/{notice}/read", "user", NOTHING, Wrong(404, who="admin")),
    Call("DELETE", "/notifications/{notice}", "user", NOTHING, Wrong(404, who="admin")),
    Call(
        *("POST", "/notifications/test-email", "admin", NOTHING, Wrong(422, {**TEST_EMAIL, "to": "nobody"})),
        TEST_EMAIL,
    ),
    Call(
        *("POST", "/notifications/test-sms", "admin", NOTHING, Wrong(422, {**TEST_SMS, "to": "nobody"})),
        TEST_SMS,
    ),
]
REVIEWS = [
    Call(
        *("POST", "/reviews", "user", REVIEW, Wrong(422, {**NEW_REVIEW, "rating": 6}), NEW_REVIEW),
        status=201,
        keep={"review": "id"},
    ),
    Call("GET", "/reviews/{review}", "user", REVIEW, Wrong(404, path=f"/reviews/{UNKNOWN}")),
    Call("PUT", "/reviews/{review}", "user", REVIEW, Wrong(422, {"rating": 5}), {**ONE_REVIEW, "rating": 5}),
    Call(
        *("GET", "/reviews", "nobody", page("reviews", REVIEW, average_rating=NUMBER)),
        Wrong(422, path="/reviews"),
        query="?resource_type=product&resource_id={product}",
    ),
    Call("DELETE", "/reviews/{review}", "user", NOTHING, Wrong(401, who="nobody")),
]
SETTINGS = [
    Call(
        *("POST", "/settings/system", "admin", {"setting": SETTING}),
        Wrong(422, {**NEW_SETTING, "value": "yes", "type": "boolean"}),
        NEW_SETTING,
        status=201,
    ),
    Call("GET", "/settings/system", "admin", page("settings", SETTING), Wrong(403, who="user")),
    Call("GET", "/settings/system/site.notice", "admin", {"setting": SETTING}, Wrong(403, who="user")),
    Call(
        *("PUT", "/settings/system/site.notice", "admin", {"setting": SETTING}, Wrong(422, {"value": "1"})),
        {"value": "Done", "type": "string"},
    ),
    Call(
        "DELETE", "/settings/system/site.notice", "admin", NOTHING, Wrong(404, path="/settings/system/none")
    ),
    Call(
        *("PUT", "/settings/user/dark", "user", {"setting": SETTING}),
        Wrong(422, {"value": "1", "type": "boolean"}),
        ONE_SETTING,
    ),
    Call("GET", "/settings/user", "user", page("settings", SETTING), Wrong(401, who="nobody")),
    Call("GET", "/settings/user/dark", "user", {"setting": SETTING}, Wrong(404, who="admin")),
    Call("DELETE", "/settings/user/dark", "user", NOTHING, Wrong(404, who="admin")),
]
STORAGE = [
    Call(
        *("POST", "/storage/upload", "user", {"file": FILE}, Wrong(401, who="nobody")),
        status=201,
        keep={"file": "file.id"},
    ),
    Call(
        *("GET", "/storage/files", "user", page("files", FILE), Wrong(422, path="/storage/files?page=0")),
        query="?visibility=private",
    ),
    Call("GET", "/storage/files/{file}", "user", {"file": FILE}, Wrong(404, who="admin")),
    Call("GET", "/storage/files/{file}/download", "user", BYTES, Wrong(404, who="admin")),
    Call(
        *("PUT", "/storage/files/{file}", "user", {"file": FILE}, Wrong(422, {"visibility": "secret"})),
        {"visibility": "public", "metadata": {"project": "atlas"}},
    ),
    Call("DELETE", "/storage/files/{file}", "user", NOTHING, Wrong(404, who="admin")),
]
TICKETS = [
    Call(
        *("POST", "/tickets", "user", {"ticket": TICKET}, Wrong(422, {**NEW_TICKET, "priority": "huge"})),
        NEW_TICKET,
        status=201,
        keep={"ticket": "ticket.id"},
    ),
    Call(
        "GET", "/tickets/my", "user", page("tickets", TICKET), Wrong(401, who="nobody"), query="?status=open"
    ),
    Call(
        "PUT",
        "/tickets/{ticket}",
        "user",
        {"ticket": TICKET},
        Wrong(422, {"subject": "x"}),
        {"priority": "low"},
    ),
    Call(
        *("POST", "/tickets/{ticket}/replies", "user", {"reply": REPLY}, Wrong(422, {"content": ""})),
        {"content": "And the screen has a crack."},
        status=201,
    ),
    Call(
        *("GET", "/tickets/{ticket}", "user", {"ticket": TICKET, "replies": [REPLY]}),
        Wrong(404, path=f"/tickets/{UNKNOWN}"),
    ),
    Call("GET", "/tickets", "admin", page("tickets", TICKET), Wrong(403, who="user"), query="?priority=low"),
    Call(
        *(
            "PUT",
            "/tickets/{ticket}/assign",
            "admin",
            {"ticket": TICKET},
            Wrong(422, {"assigned_to": UNKNOWN}),
        ),
        {"assigned_to": "{admin_id}"},
    ),
    Call(
        *("PUT", "/tickets/{ticket}/status", "admin", {"ticket": TICKET}, Wrong(422, {"status": "waiting"})),
        {"status": "in_progress"},
    ),
    Call("DELETE", "/tickets/{open_ticket}", "user", NOTHING, Wrong(403, who="admin")),
]
SIGN_OUT = [
    Call(
        *("PUT", "/users/me/password", "user", NOTHING),
        Wrong(403, {"old_password": "wrong", "new_password": NEW_PASSWORD}),
        {"old_password": STRONG, "new_password": NEW_PASSWORD},
    ),
    Call("POST", "/users/logout", "user", NOTHING, Wrong(401, who="nobody")),
    Call("DELETE", "/users/me", "again", NOTHING, Wrong(401, who="user")),
]
ALL = [
    *(*SIGN_IN, *ACCOUNTS, *CLIENTS, *OAUTH, *NOTIFICATIONS, *REVIEWS, *SETTINGS, *STORAGE, *TICKETS),
    *SIGN_OUT,
]


class Caller:
    """Calls operations one after another, and remembers what later ones need."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.known = {"email": f"{new_id()}@example.com"}
        self.headers: dict[str, dict[str, str]] = {"nobody": {}}

    async def send(self, call: Call, method: str, path: str, who: str, body: Any) -> httpx.Response:
        sent: dict[str, Any] = {"headers": self.headers[who]}
        if call.path == "/storage/upload":
            sent["files"] = {"file": ("notes.txt", b"some notes", "text/plain")}
            sent["data"] = {"visibility": "private", "metadata": "{}"}
        elif body is not None:
            sent["json"] = self.filled(body)
        return await self.client.request(method, f"/api/v1{self.filled(path)}", **sent)

    async def call(self, call: Call) -> list[str]:
        """Call an operation wrongly and then rightly; return what differs from the older system."""
        wrong = call.wrong
        path = wrong.path or call.path + call.query
        body = call.body if wrong.body is None else wrong.body
        refused = await self.send(call, wrong.method or call.method, path, wrong.who or call.who, body)
        done = await self.send(call, call.method, call.path + call.query, call.who, call.body)
        faults = refusal_faults(refused, wrong.status) + answer_faults(done, call)
        for name, place in call.keep.items():
            found = done.json()["data"]
            for part in place.split("."):
                found = found[int(part) if part.isdigit() else part]
            self.known[name] = found
        return [f"{call.method} {call.path}: {fault}" for fault in faults]

    def filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.filled(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self.filled(one) for one in value]
        if not isinstance(value, str):
            return value
        for name, known in self.known.items():
            value = value.replace(f"{{{name}}}", known)
        return value


def refusal_faults(response: httpx.Response, status: int) -> list[str]:
    if response.status_code != status:
        return [f"wrongly called, it answers {response.status_code} instead of {status}: {response.text}"]
    body = response.json()
    errors = {"code": TEXT, "message": TEXT, "field?": TEXT}
    shape = {"success": YES_OR_NO, "message": TEXT, "data?": dict, "meta": META, "errors": [errors]}
    faults = faults_of(body, shape, "refusal")
    return faults if not body["success"] and body["errors"] else [*faults, "the refusal is a success"]


def answer_faults(response: httpx.Response, call: Call) -> list[str]:
    if response.status_code != call.status:
        return [f"it answers {response.status_code}: {response.text}"]
    if call.shape is BYTES:
        is_whole = (
            response.content == b"some notes" and "attachment" in response.headers["content-disposition"]
        )
        return [] if is_whole else ["its bytes are wrong, or not sent as an attachment"]
    body = response.json()
    shape = {"success": YES_OR_NO, "message": TEXT, "meta": META, "errors?": list, "data": dict}
    return faults_of(body, shape, "answer") + faults_of(body["data"], call.shape, "data", call.beyond)


def faults_of(value: Any, shape: Shape, where: str = "data", extra: tuple[str, ...] = ()) -> list[str]:
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [
            fault
            for number, one in enumerate(value)
            for fault in faults_of(one, shape[0], f"{where}.{number}")
        ]
    if not isinstance(shape, dict):
        is_right = isinstance(value, shape) and (shape is not int or not isinstance(value, bool))
        return [] if is_right or (shape is int and isinstance(value, float)) else [f"{where} is {value!r}"]
    if not isinstance(value, dict):
        return [f"{where} is {value!r}"]
    faults = [
        f"{where} has {name}" for name in value if name not in extra and not {name, f"{name}?"} & set(shape)
    ]
    for key, one in shape.items():
        name = key.removesuffix("?")
        if value.get(name) is not None:
            faults += faults_of(value[name], one, f"{where}.{name}")
        elif name == key:
            faults.append(f"{where} lacks {name}")
    return faults


async def prepared(caller: Caller) -> None:
    """Make what no operation of the older system makes: a purchase, a notification, other accounts."""
    client, known = caller.client, caller.known
    caller.headers["user"] = bearer(known["token"])
    admin = await sign_in_admin(client)
    caller.headers["admin"], known["admin_id"] = admin.headers, admin.id
    known["other"] = (await register(client)).id
    product = {"sku": f"SKU-{new_id()[-12:]}", "name": "Laptop", "price": 9.99, "status": "active"}
    known["product"] = (await made(client, "/products", {**product, "track_stock": False}, admin.headers))[
        "id"
    ]
    line = {"lines": [{"product_id": known["product"], "quantity": 1}]}
    order = await made(client, "/orders", line, caller.headers["user"])
    confirmed = await client.put(
        f"/orders/{order['id']}", json={"status": "confirmed"}, headers=admin.headers
    )
    assert confirmed.status_code == 200, confirmed.text
    notice = {"user_id": known["user_id"], "title": "Hello", "content": "Welcome."}
    sent = await client.post("/notifications", json=notice, headers=admin.headers)
    assert sent.status_code == 202, sent.text
    ticket = await made(client, "/tickets", NEW_TICKET, caller.headers["user"])
    known["open_ticket"] = ticket["id"]


async def made(client: httpx.AsyncClient, path: str, body: Any, headers: dict[str, str]) -> dict[str, Any]:
    response = await client.post(path, json=body, headers=headers)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def allow_without_consent(caller: Caller) -> None:
    """Make the app one of our own: for an app of others, a person would have to consent on the page."""
    path = f"/clients/{caller.known['client']}"
    body = {**NEW_CLIENT, "is_first_party": True}
    changed = await caller.client.put(path, json=body, headers=caller.headers["admin"])
    assert changed.status_code == 200, changed.text


async def sign_in_again(caller: Caller) -> None:
    body = {"email": caller.known["email"], "password": NEW_PASSWORD}
    signed_in = await caller.client.post("/api/v1/users/login", json=body)
    assert signed_in.status_code == 200, signed_in.text
    caller.headers["again"] = bearer(signed_in.json()["data"]["access_token"])


def test_every_operation_is_called_once() -> None:
    assert len({(call.method, call.path.replace("{open_ticket}", "{ticket}")) for call in ALL}) == OPERATIONS
    assert len(ALL) == OPERATIONS


async def test_operations_answer_as_in_the_older_system(suite: Suite) -> None:
    faults = []
    async with suite.client() as client:
        caller = Caller(client)
        for call in ALL:
            if call is ACCOUNTS[0]:
                await prepared(caller)
            if call is OAUTH[0]:
                await allow_without_consent(caller)
            if call is SIGN_OUT[-1]:
                await sign_in_again(caller)
            faults += await caller.call(call)
    assert not faults, "\n".join(faults)
