"""Submits mails to an SMTP server, or in development to a folder, in threads, because calls block."""

import asyncio
import re
import smtplib
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Protocol

from services.notifications.mail.messages import Message
from services.notifications.private_files import PrivateFolder
from services.notifications.settings import SmtpServer

IDLE_SECONDS = 20.0  # servers close idle connections after minutes
_NO_MAILBOX = (521, 550, 551, 553, 556)
_ENHANCED = re.compile(r"5\.([0-9]{1,3})\.[0-9]{1,3}(?= |$)")
_OF_SENDER = ("5.1.7", "5.1.8")


class NotSent(Exception):
    """The mail was not accepted. `code` is one word for admins; `detail` is the text of the server."""

    def __init__(self, code: str, detail: str, *, retry_after: float | None = None) -> None:
        self.code, self.detail, self.retry_after = code, detail, retry_after
        super().__init__(f"{code}: {detail}")


class Refused(NotSent):
    """This mail will never be accepted; with `is_bounce`, no mail to this address will."""

    def __init__(self, code: str, detail: str, *, is_bounce: bool = False) -> None:
        super().__init__(code, detail)
        self.is_bounce = is_bounce


class Deferred(NotSent):
    """This mail was not accepted for the moment."""


class Away(NotSent):
    """The server accepts no mails at the moment."""


class Unheard(NotSent):
    """The mail may have been accepted: the response was lost."""


class Transport(Protocol):
    """Where mails are submitted."""

    async def send(self, message: Message) -> str | None:
        """Return once the mail is accepted, with the provider's id if it has one; otherwise raise NotSent."""

    async def close(self) -> None: ...


class BlockingTransport(Protocol):
    def send(self, message: Message) -> None: ...

    def close(self) -> None: ...


class InThreads:
    """Calls a transport that blocks, in threads of its own."""

    def __init__(self, transport: BlockingTransport, number: int) -> None:
        self._transport = transport
        self._threads = ThreadPoolExecutor(number, thread_name_prefix="mail")

    async def send(self, message: Message) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._transport.send, message)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._transport.close()


class FileTransport:
    """Writes mails to a folder, readable by its owner alone, and keeps the newest ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = PrivateFolder(folder, ".eml")

    def send(self, message: Message) -> None:
        try:
            self._folder.add(message.name, message.content)
        except OSError as error:
            raise Away("not_written", str(error)) from error

    def close(self) -> None:
        pass


class SmtpTransport:
    """One connection per thread, kept open between mails."""

    def __init__(self, server: SmtpServer, seconds: float) -> None:
        self._server, self._seconds = server, seconds
        self._local = threading.local()
        self._lock, self._open = threading.Lock(), set[smtplib.SMTP]()

    def send(self, message: Message) -> None:
        try:
            self._send(message)
        except NotSent:
            raise
        except (OSError, smtplib.SMTPException) as error:  # SMTPException is an OSError, but not its errors
            self._drop()
            raise Away("unreachable", _said(error)) from error

    def close(self) -> None:
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()

    def _send(self, message: Message) -> None:
        connection = self._begin(message)
        code, said = connection.rcpt(message.recipient)
        if code not in (250, 251):
            connection.rset()
            _refuse(code, said, at_recipient=True)
        try:
            code, said = connection.data(message.content)
        except smtplib.SMTPDataError as error:
            connection.rset()
            code, said = error.smtp_code, error.smtp_error  # type: ignore[assignment]
        if code != 250:
            _refuse(code, said, at_recipient=False)
        self._local.used = time.monotonic()

    def _begin(self, message: Message) -> smtplib.SMTP:
        """Name the sender, on a new connection if the server has closed the old one."""
        connection = getattr(self._local, "connection", None)
        if connection is not None and time.monotonic() - self._local.used < IDLE_SECONDS:
            try:
                return self._from(connection, message)
            except (OSError, smtplib.SMTPException):
                pass  # nothing was submitted yet, so a second attempt cannot cause a second mail
        self._drop()
        return self._from(self._connect(), message)

    def _from(self, connection: smtplib.SMTP, message: Message) -> smtplib.SMTP:
        options = [f"size={len(message.content)}"] if connection.has_extn("size") else []
        if message.needs_utf8:
            if not connection.has_extn("smtputf8"):
                raise Refused("no_smtputf8", "the server cannot deliver to an address with these letters")
            options += ["BODY=8BITMIME", "SMTPUTF8"]
        code, said = connection.mail(message.sender, options)
        if code != 250:
            connection.rset()
            raise Away("sender_refused", f"{code} {_text(said)}")
        return connection

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        if server.is_tls:
            made: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=self._seconds, context=_context()
            )
        else:
            made = smtplib.SMTP(server.host, server.port, timeout=self._seconds)
        with self._lock:
            self._open.add(made)
        self._local.connection, self._local.used = made, time.monotonic()
        made.ehlo_or_helo_if_needed()
        if not server.is_tls and (server.needs_tls or made.has_extn("starttls")):
            if not made.has_extn("starttls"):
                raise Away("no_tls", "the server offers no STARTTLS")
            made.starttls(context=_context() if server.needs_tls else _unchecked_context())
            made.ehlo()
        if server.user is not None:
            made.login(server.user, server.password or "")
        return made

    def _drop(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            with self._lock:
                self._open.discard(connection)
            self._local.connection = None


def _refuse(code: int, said: bytes, *, at_recipient: bool) -> None:
    detail = f"{code} {_text(said)}"
    if code == 421:
        raise Away("busy", detail)
    if code < 500:
        raise Deferred("deferred", detail)
    enhanced = _ENHANCED.match(_text(said))
    if enhanced is not None and enhanced[0] in _OF_SENDER:  # some servers check the sender only here
        raise Away("sender_refused", detail)
    is_bounce = at_recipient and _says_no_mailbox(code, enhanced)
    raise Refused("no_such_address" if is_bounce else "refused", detail, is_bounce=is_bounce)


def _says_no_mailbox(code: int, enhanced: re.Match[str] | None) -> bool:
    """Whether this recipient will never receive mail, as opposed to a refusal of us or of this mail.

    An enhanced status code (RFC 3463) is more exact than the code before it: 5.1.x is about the address,
    5.2.1 means that its mailbox is disabled, and 5.4.1 and 5.4.4 that its domain accepts no mail. The rest of
    5.4.x is about the way to it, such as a loop.
    """
    if enhanced is None:
        return code in _NO_MAILBOX
    return enhanced[1] == "1" or enhanced[0] in ("5.2.1", "5.4.1", "5.4.4")


def _text(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(text.split())


def _said(error: Exception) -> str:
    """Return what went wrong, without what was sent: an error of a login may repeat the password."""
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return f"{type(error).__name__}: {error}" if isinstance(error, OSError) else type(error).__name__


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()


@cache
def _unchecked_context() -> ssl.SSLContext:
    """Return a context for a server on this machine, whose certificate is usually self-signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
