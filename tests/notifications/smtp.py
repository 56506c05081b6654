"""A real SMTP server that accepts, refuses, defers or stays silent, as each test wants."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support import free_port

OK = "250 OK"


class Server:
    """Keeps the mails it accepts. `at_recipient` and `at_content` answer RCPT and DATA."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self._ids: list[str] = []  # kept as text: a test that sends thousands asks for them at every step
        self.at_recipient: Callable[[str], str] = lambda _: OK
        self.at_content: Callable[[EmailMessage], str] = lambda _: OK
        self._lock = threading.Lock()
        self.port = 0

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        answer = self.at_recipient(address)
        if answer == OK:
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=policy.default)
        answer = self.at_content(mail)
        if answer == OK:
            with self._lock:
                self.mails.append(mail)
                self._ids.append(str(mail["Message-ID"]))
        return answer

    def to(self, address: str) -> list[EmailMessage]:
        with self._lock:
            return [one for one in self.mails if one["To"] == address]

    @property
    def ids(self) -> list[str]:
        with self._lock:
            return [*self._ids]


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    server.port = free_port()
    controller = Controller(server, hostname="127.0.0.1", port=server.port, decode_data=False)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()
