"""Who is let through to a leased port, where the time between two checks matters."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from services.terminal.ports.gate import PortGate
from services.terminal.settings import Settings
from shared.caller import Caller
from shared.errors import Unauthenticated
from shared.identity.revocations import Revocations

VISITOR = Caller("ann", "user", None, None, "session", frozenset(), 0.0)


def test_visitor_who_was_revoked_while_the_connection_was_made_is_refused(
    make_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    revocations, nothing = Revocations(), SimpleNamespace()
    parts: dict[str, Any] = dict.fromkeys(("database", "tunnels", "places", "door"), nothing)
    gate = PortGate(lambda *_: nothing, revocations, settings=make_settings(Settings), **parts)
    with gate._known("connection", VISITOR):
        assert gate._visitors == {"connection": VISITOR}
    monkeypatch.setattr(revocations, "cover", lambda caller: caller is VISITOR)
    with pytest.raises(Unauthenticated), gate._known("connection", VISITOR):
        pytest.fail("the visitor was let through")
    assert gate._visitors == {}
