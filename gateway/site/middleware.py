"""Gives the gateway's own responses CORS headers and the envelope, like forwarded ones."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import ORIGIN_DENIED, Refusal
from gateway.forwarding.client_protocol import ALIAS
from gateway.forwarding.envelope import wrap
from gateway.forwarding.enveloped_answer import may_wrap
from gateway.forwarding.heads import NO_SNIFFING
from gateway.runtime.gateway import Gateway
from shared.errors import PROBLEM_JSON
from shared.process.observe import REQUEST_ID


class Edge:
    """The middleware around the gateway's own application."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cors = self._gateway.table.cors
        fields = dict(scope["headers"])
        origin = fields.get(b"origin")
        if scope["method"] == "OPTIONS" and origin and b"access-control-request-method" in fields:
            await _answer_preflight(cors.preflight_headers(origin, "GET, HEAD"), scope, send)
            return
        start: Message = {}
        body = bytearray()

        async def send_as_asked(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                added = _lines(NO_SNIFFING + cors.answer_headers(origin))
                message["headers"] = [*message["headers"], *added]
                start = message
                if not self._is_wrapped(scope, start):
                    await send(message)
            elif self._is_wrapped(scope, start):
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    await _send_wrapped(scope, start, bytes(body), send)
            else:
                await send(message)

        await self._app(scope, receive, send_as_asked)

    @staticmethod
    def _is_wrapped(scope: Scope, start: Message) -> bool:
        alias = scope.get(ALIAS)  # read late: a handler may opt out of the envelope
        if alias is None or not alias.envelope:
            return False
        return may_wrap(scope["method"].encode(), start["status"], start["headers"])


async def _answer_preflight(permission: bytes | None, scope: Scope, send: Send) -> None:
    if permission is None:
        refusal = Refusal(ORIGIN_DENIED)
        body, status = refusal.body(scope[REQUEST_ID]), refusal.kind.status
        headers = [(b"content-type", PROBLEM_JSON.encode()), (b"content-length", b"%d" % len(body))]
        headers += _lines(NO_SNIFFING)
    else:
        body, status, headers = b"", 204, _lines(permission)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_wrapped(scope: Scope, start: Message, body: bytes, send: Send) -> None:
    wrapped = wrap(start["status"], body, scope[REQUEST_ID], None)
    kept = [
        (name, value)
        for name, value in start["headers"]
        if name.lower() not in (b"content-length", b"content-type")
    ]
    framing = [(b"content-type", b"application/json"), (b"content-length", str(len(wrapped)).encode())]
    await send({**start, "headers": [*kept, *framing]})
    await send({"type": "http.response.body", "body": wrapped, "more_body": False})


def _lines(block: bytes) -> list[tuple[bytes, bytes]]:
    pairs = (line.partition(b": ") for line in block.split(b"\r\n") if line)
    return [(name, value) for name, _, value in pairs]
