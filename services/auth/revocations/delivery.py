"""Revocations reach the verifiers before the response that reports them."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.auth.revocations.feed import RevocationFeed
from shared.identity.revocations import FEED, Revocations


class DeliverFirst:
    """Before each response, sends new revocations to the verifiers that follow the feed.

    So no gateway accepts a token after its owner was told that it is revoked, even if this process is killed
    right after the response and takes long to come back.
    """

    def __init__(self, app: ASGIApp, _revocations: Revocations, feed: RevocationFeed) -> None:
        self._app = app
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._feed.verifiers.begin()
        if scope["type"] != "http" or scope["path"] == FEED:
            await self._app(scope, receive, send)
            return

        async def deliver_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._feed.deliver()
            await send(message)

        try:
            await self._app(scope, receive, deliver_and_send)
        except Exception:  # an outer layer makes it a response; even a refusal may revoke something
            await self._feed.deliver()
            raise
