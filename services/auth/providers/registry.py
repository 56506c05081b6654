"""The configured providers."""

from services.auth.provider_settings import Provider
from services.auth.providers.github import GitHub
from services.auth.providers.openid import OpenIdProvider
from services.auth.providers.person import SignInAtProvider
from services.auth.settings import Settings
from shared.errors import NotFound
from shared.peers.outbound import Outbound

BEGIN = "/auth/providers"
CALL_SECONDS_MAX = 5.0
DOCUMENT_BYTES_MAX = 256 * 1024


class Providers:
    """All configured providers, and the connections to them."""

    def __init__(self, settings: Settings) -> None:
        self._origin = settings.link_origin
        self._outbound = Outbound(
            settings, "sign_in", seconds_max=CALL_SECONDS_MAX, answer_bytes_max=DOCUMENT_BYTES_MAX
        )
        self._by_name = {one.name: self._connected(one) for one in settings.identity_providers}

    @property
    def configured(self) -> list[Provider]:
        return [one.settings for one in self._by_name.values()]

    def named(self, name: str) -> SignInAtProvider:
        provider = self._by_name.get(name)
        if provider is None:
            raise NotFound
        return provider

    def only(self) -> SignInAtProvider | None:
        """Return the provider with the short callback URL, or the only one there is."""
        several = [*self._by_name.values()]
        short = [one for one in several if one.settings.short_callback]
        chosen = short or several
        return chosen[0] if len(chosen) == 1 else None

    def label_of(self, name: str) -> str:
        """Return the label of a provider, or its name if it is no longer configured."""
        provider = self._by_name.get(name)
        return name if provider is None else provider.settings.label

    def with_callback(self, path: str) -> SignInAtProvider:
        """Return the provider with this callback path."""
        for provider in self._by_name.values():
            if provider.settings.callback == path:
                return provider
        raise NotFound

    def redirect_uri(self, provider: SignInAtProvider) -> str:
        return f"{self._origin}{provider.settings.callback}"

    async def aclose(self) -> None:
        await self._outbound.close()

    def _connected(self, settings: Provider) -> SignInAtProvider:
        kind = GitHub if settings.kind == "github" else OpenIdProvider
        return kind(settings, self._outbound)
