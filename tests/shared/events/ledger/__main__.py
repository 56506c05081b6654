"""`python -m tests.shared.events.ledger teller|ledger`, with all timeouts and delays shortened."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from shared.events import inbox, outbox, parked, poll, relay, spine, streams
from shared.events.event import Envelope
from shared.process.observe import configure_logging
from shared.process.server import serve
from tests.shared.events.ledger.app import LedgerSettings, TellerSettings, create_ledger, create_teller


def hurry() -> None:
    outbox.LEASE = timedelta(seconds=1.5)
    relay.PAUSE_SECONDS_MAX = 0.5
    parked.PAUSE_FIRST = timedelta(milliseconds=5)
    parked.ATTEMPT_SECONDS_MAX = timedelta(seconds=1.5)
    poll.LOOK_SECONDS = 0.1
    spine.AFTER_FAULT_SECONDS = 0.5
    streams.LEADER_SECONDS = 1.5
    streams.PAUSE_SECONDS_MAX = 0.5


def count_what_is_received(file: Path) -> None:
    """Write one line per received batch, even if its transaction fails later."""
    receive = inbox.Inbox.receive

    def counted(
        self: inbox.Inbox, envelopes: Sequence[Envelope], attempt: int = 1, sender: str | None = None
    ) -> None:
        with file.open("a") as lines:
            lines.write(f"{len(envelopes)}\n")
        receive(self, envelopes, attempt, sender)

    inbox.Inbox.receive = counted  # type: ignore[method-assign]


def main(service: str) -> None:
    hurry()
    if service == "teller":
        teller = TellerSettings.load()
        configure_logging(teller)
        serve(create_teller(teller), teller)
    else:
        ledger = LedgerSettings.load()
        configure_logging(ledger)
        count_what_is_received(ledger.data_dir / "received")
        serve(create_ledger(ledger), ledger)


if __name__ == "__main__":
    main(sys.argv[1])
