"""What the pages of 3Compute send and receive."""

import re
from typing import Any

from pydantic import Field

from services.terminal.workspace.paths import PATH_BYTES_MAX
from shared.http.schemas import Input, Output, Query, example

TABS_MAX, TABS_SENT_MAX = 32, 200
FIRST_TAB = "1"
_TAB = re.compile(r"[A-Za-z0-9_-]{1,64}")


class SaveTabList(Input):
    model_config = example({"tabs": ["1", "2"], "active_tab": "2"})

    tabs: list[str] = Field(min_length=1, max_length=TABS_SENT_MAX)
    active_tab: str

    @property
    def valid_tabs(self) -> list[str]:
        """The tabs in order, without those whose id is not valid: the pages expect these to be left out."""
        return [*dict.fromkeys(tab for tab in self.tabs if _TAB.fullmatch(tab))]


class TabListOut(Output):
    model_config = example({"tabs": ["1", "2"], "active_tab": "2"})

    tabs: list[str]
    active_tab: str


class SavedOut(Output):
    model_config = example({"success": True})

    success: bool = True


class CloseTab(Input):
    model_config = example({"tabId": "2"})

    tabId: str = Field(default=FIRST_TAB, max_length=64)  # noqa: N815 - the spelling of the pages


class MovePath(Input):
    model_config = example({"source": "draft.txt", "destination": "done/final.txt", "overwrite": False})

    source: str = Field(max_length=PATH_BYTES_MAX)
    destination: str = Field(max_length=PATH_BYTES_MAX)
    overwrite: bool = False


class ListQuery(Query):
    show_hidden: bool = Field(default=False, description="Include names that begin with a dot.")


class MessageOut(Output):
    model_config = example({"message": "Files uploaded."})

    message: str


class FilesOut(Output):
    """Paths of files and folders; those of folders end in `/`."""

    model_config = example({"files": ["src/", "src/main.py"]})

    files: list[str]


class FilesWithClassroomsOut(FilesOut):
    """The same, with what the newest pages read about classrooms, which do not exist here."""

    model_config = example({"files": ["src/", "src/main.py"], "classroomMeta": {}})

    classroomMeta: dict[str, Any] = Field(default_factory=dict)  # noqa: N815 - the spelling of the pages
