"""Work on a file in a thread ends before the file is closed, even if the request is cancelled."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from services.files.storage.blob_store import WRITE_BYTES, Blobs, Inflow
from services.files.storage.disk_store import DiskStore
from services.files.storage.staging import Staging


class SlowFile:
    """A file whose writes block until they are released."""

    def __init__(self) -> None:
        self.began, self.may_end, self.is_written = threading.Event(), threading.Event(), False

    def write(self, _pieces: Sequence[bytes] = ()) -> None:
        self.began.set()
        assert self.may_end.wait(20)
        self.is_written = True


@pytest.fixture
def blobs(tmp_path: Path) -> Iterator[Blobs]:
    made = Blobs(DiskStore(tmp_path / "blobs"), Staging(tmp_path / "staging"))
    yield made
    made.close()


async def cancel_while_it_writes(task: "asyncio.Task[None]", file: SlowFile) -> None:
    await asyncio.to_thread(file.began.wait, 20)
    task.cancel()
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(file.may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_inflow_settles_after_its_last_write(blobs: Blobs) -> None:
    file = SlowFile()
    inflow = Inflow(blobs, file)

    async def bring_two_pieces() -> None:
        try:
            await inflow.add(bytes(WRITE_BYTES))
            await inflow.add(bytes(WRITE_BYTES))  # waits for the first one
        finally:
            await inflow.settle()
            assert file.is_written

    await cancel_while_it_writes(asyncio.create_task(bring_two_pieces()), file)


async def test_cancelled_caller_waits_for_its_work(blobs: Blobs) -> None:
    file = SlowFile()

    async def work() -> None:
        try:
            await blobs.run(file.write)
        finally:
            assert file.is_written

    await cancel_while_it_writes(asyncio.create_task(work()), file)
