"""The files service, killed by SIGKILL at a named step: `python -m tests.files.dying STEP`."""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

# The wrapped function, and whether the process dies before or after it.
STEPS = {
    "quota-reserved": ("services.files.storage.staging", "Staging.create", "before"),
    "staging-created": ("services.files.storage.staging", "Staging.create", "after"),
    "half-written": ("services.files.storage.staging", "StagedFile.write", "after"),
    "all-durable": ("services.files.storage.staging", "StagedFile.finish", "after"),
    "moving": ("services.files.storage.disk_store", "DiskStore.put", "before"),
    "moved": ("services.files.storage.disk_store", "sync_folder", "after"),
    "stored": ("services.files.storage.disk_store", "DiskStore.put", "after"),
    "row-inserted": ("services.files.uploads.form", "add_file", "after"),
    "piece-written": ("services.files.storage.staging", "PartialFile.write", "after"),
    "piece-durable": ("services.files.storage.staging", "PartialFile.sync", "after"),
    "piece-recorded": ("services.files.uploads.resumable", "Resumable._complete", "before"),
    "pieces-stored": ("services.files.storage.disk_store", "DiskStore.put", "after"),
    "pieces-row-inserted": ("services.files.uploads.resumable", "add_file", "after"),
    "committed": ("shared.http.endpoints", "Endpoint._reply", "before"),
    "purging": ("services.files.handlers.trash", "purge", "after"),
    "removing": ("services.files.storage.disk_store", "DiskStore.delete", "before"),
    "removed": ("services.files.storage.disk_store", "DiskStore.delete", "after"),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(work: Callable[..., Any], when: str) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            die()
        work(*args, **kwargs)
        die()

    return wrapped


def arrange(step: str) -> None:
    module, path, when = STEPS[step]
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for one in owners:
        owner = getattr(owner, one)
    setattr(owner, name, dying(getattr(owner, name), when))


if __name__ == "__main__":
    from services.files.app import create_app
    from services.files.settings import Settings
    from shared.service import run

    arrange(sys.argv[1])
    run(Settings, create_app)
