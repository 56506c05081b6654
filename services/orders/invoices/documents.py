"""The PDFs of invoices: rendered once, soon after the issue, then stored with their hash.

Rendering takes longer than a transaction may, so an invoice is valid without its PDF. A duty renders those
that have not been requested yet. The time of rendering does not change the result.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from sqlalchemy import bindparam, insert, select, update
from sqlmodel import Session

from services.orders.invoices.layout import document_of
from services.orders.models import INVOICES, PDFS
from shared.data.database import Database
from shared.data.statements import Rows, Statement
from shared.errors import Problem
from shared.pdf.renderer import Renderer
from shared.work.duties import IsStopping

TEMPLATES = Path(__file__).parents[1] / "templates"
RENDER_SECONDS = 10.0
INVOICES_PER_RUN = 50
_STORED = Rows(select(PDFS.c.pdf).where(PDFS.c.invoice_id == bindparam("invoice_id")))
_PENDING = Rows(
    select(INVOICES)
    .where(INVOICES.c.pdf_sha256.is_(None), INVOICES.c.id > bindparam("after"))
    .order_by(INVOICES.c.id)
    .limit(bindparam("count"))
)
_HASHED = Rows(
    update(INVOICES)
    .where(INVOICES.c.id == bindparam("of_invoice"), INVOICES.c.pdf_sha256.is_(None))
    .values(pdf_sha256=bindparam("sha256"))
    .returning(INVOICES.c.id)
)
_ADDED = Statement(insert(PDFS).values(invoice_id=bindparam("invoice"), pdf=bindparam("content")))

log = structlog.get_logger(__name__)


class Documents:
    """Renders and stores the PDFs of invoices; open while the service runs."""

    def __init__(self, database: Database, fonts: Path | None) -> None:
        self._database = database
        self.renderer = Renderer(TEMPLATES, fonts=fonts)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._renderings: dict[str, asyncio.Task[bytes]] = {}  # by invoice
        self._tried = ""  # the last invoice that the duty tried; a failure must not hold up the others

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        renderings = [*self._renderings.values()]
        for rendering in renderings:
            rendering.cancel()
        await asyncio.gather(*renderings, return_exceptions=True)
        await self.renderer.__aexit__(kind, error, trace)

    async def pdf_of(self, invoice: Mapping[str, Any]) -> bytes:
        """Return the stored PDF of an invoice; render and store it if there is none.

        Whoever asks while it is being rendered waits for the same rendering.
        """
        if invoice["pdf_sha256"] is not None:
            return await self._database.in_thread(self._stored, invoice["id"])
        rendering = self._renderings.get(invoice["id"])
        if rendering is None:
            rendering = self._renderings[invoice["id"]] = asyncio.create_task(self._render(invoice))
            rendering.add_done_callback(lambda _: self._renderings.pop(invoice["id"]))
        return await asyncio.shield(rendering)  # it goes on if this reader leaves

    async def _render(self, invoice: Mapping[str, Any]) -> bytes:
        rendered = await self.renderer.render(
            f"invoice-{invoice['template_version']}.typ", document_of(invoice), invoice["issued"]
        )
        if rendered.unshown:
            log.warning("invoice_lacks_characters", number=invoice["number"], characters=rendered.unshown)
        return await self._database.in_thread(self._store, invoice["id"], rendered.pdf, write=True)

    def render_pending(self, is_stopping: IsStopping) -> None:
        """Render the PDFs that are missing: a duty, in its own thread."""
        with self._database.transaction(write=False) as session:
            pending = _PENDING.rows(session, after=self._tried, count=INVOICES_PER_RUN)
        assert self._loop is not None
        for invoice in pending:
            if is_stopping():
                return
            rendering = asyncio.run_coroutine_threadsafe(self.pdf_of(invoice), self._loop)
            try:
                rendering.result()
            except Problem as problem:
                log.warning("invoice_not_rendered", number=invoice["number"], code=problem.code)
            except Exception:  # whatever is wrong with this invoice, the others are rendered
                log.exception("invoice_not_rendered", number=invoice["number"])
            self._tried = invoice["id"]
        if not pending:
            self._tried = ""  # from the beginning again

    def _stored(self, invoice_id: str) -> bytes:
        with self._database.transaction(write=False) as session:
            return _pdf(session, invoice_id)

    def _store(self, invoice_id: str, pdf: bytes) -> bytes:
        """Store the PDF, unless another request or replica was faster; return the stored one."""
        with self._database.transaction() as session:
            if _HASHED.one(session, of_invoice=invoice_id, sha256=hashlib.sha256(pdf).hexdigest()) is None:
                return _pdf(session, invoice_id)
            _ADDED.execute(session, {"invoice": invoice_id, "content": pdf})
        return pdf


def _pdf(session: Session, invoice_id: str) -> bytes:
    found = _STORED.one(session, invoice_id=invoice_id)
    assert found is not None, "the PDF was stored together with its hash"
    return bytes(found["pdf"])
