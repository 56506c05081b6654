"""The events of mails and text messages that did not arrive. They hold no address and no text."""

from shared.events import Event


class DeliveryState(Event):
    """A mail or a text message; `code` says in one word why it did not arrive."""

    key = "delivery_id"
    source = "notifications"

    delivery_id: str
    user_id: str | None
    channel: str
    template: str
    code: str | None


class DeliveryFailed(DeliveryState):
    """A mail or a text message was given up: it was refused, or tried for too long."""

    topic = "delivery.failed"


class DeliveryBounced(DeliveryState):
    """A provider had accepted a mail, and then reported that it came back."""

    topic = "delivery.bounced"
