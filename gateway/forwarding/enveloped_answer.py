"""Puts a JSON response into an envelope."""

import re
from collections.abc import Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gateway.forwarding.envelope import page_links, wrap
from gateway.forwarding.heads import client_head_end, link_for_client
from gateway.forwarding.transfer import Transfer
from gateway.http.headers import DROP, Header, answer_rule

BYTES_MAX = 16 << 20
_JSON = re.compile(rb"application/(?:[\w.-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)


def may_wrap(method: bytes, status: int, headers: Sequence[Header]) -> bool:
    """Whether this response is JSON with a body; downloads and streams pass unchanged."""
    if method == b"HEAD" or status in (204, 304):
        return False
    fields = dict(headers)
    plain = fields.get(b"content-encoding", b"identity") == b"identity"
    return plain and _JSON.fullmatch(fields.get(b"content-type", b"").strip()) is not None


class EnvelopedAnswer:
    """A response that is buffered until its end: the only kind that the gateway ever buffers."""

    def __init__(self, transfer: Transfer, headers: Sequence[Header]) -> None:
        self._transfer = transfer
        self._headers = headers
        self._body = bytearray()

    def add(self, piece: bytes) -> bool:
        """Buffer a piece; return whether the body still fits."""
        self._body += piece
        return len(self._body) <= BYTES_MAX

    def answer(self) -> bytes:
        transfer = self._transfer
        lines, link, extras = [STATUS_LINE[transfer.status]], None, None
        for name, value in self._headers:
            if name == b"content-type" or answer_rule(name) == DROP:
                continue
            passed = link_for_client(transfer, value) if name in (b"location", b"link") else value
            link = passed.decode("latin-1") if name == b"link" else link
            extras = passed.decode("latin-1") if name == b"page-extras" else extras
            lines += (name, b": ", passed, b"\r\n")
        pagination = page_links(link, transfer.request.target.decode("latin-1"))
        body = wrap(
            transfer.status,
            bytes(self._body),
            transfer.request_id,
            transfer.caller,
            pagination=pagination,
            extras=extras,
        )
        transfer.sent_bytes = len(body)
        lines.append(b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body))
        return b"".join((*lines, client_head_end(transfer), body))
