"""Sign-in with GitHub. It uses plain OAuth 2.0, so the user comes from GitHub's API."""

from typing import Any
from urllib.parse import urlencode

from services.auth.provider_settings import Provider
from services.auth.providers.documents import call, fetch_object, json_in
from services.auth.providers.openid import FORM, challenge_of, tokens_in
from services.auth.providers.person import Person, Response, Secrets, email_of, name_of
from services.auth.providers.refusals import untrusted
from shared.http.inputs import JSON
from shared.peers.outbound import Outbound


class GitHub:
    """GitHub, or a GitHub Enterprise Server."""

    def __init__(self, settings: Provider, outbound: Outbound) -> None:
        self.settings = settings
        self._outbound = outbound

    async def url(self, secrets: Secrets, redirect_uri: str) -> str:
        query = {
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.settings.scopes,
            "state": secrets.state,
            **challenge_of(secrets),
        }
        return f"{self.settings.issuer}/authorize?{urlencode(query)}"

    async def require_sender(self, issuer: str | None) -> None:
        if issuer not in (None, self.settings.issuer):
            raise untrusted("response_of_another_issuer")

    async def person(self, response: Response, secrets: Secrets, redirect_uri: str) -> Person:
        form = {
            "client_id": self.settings.client_id,
            "client_secret": self.settings.client_secret.get_secret_value(),
            "code": response.code,
            "redirect_uri": redirect_uri,
            "code_verifier": secrets.verifier,
        }
        headers = {"Accept": JSON, "Content-Type": FORM}
        url, body = f"{self.settings.issuer}/access_token", urlencode(form).encode()
        answer = await call(self._outbound, "POST", url, headers=headers, body=body)
        return await self._person(tokens_in(answer, ("access_token",))["access_token"])

    async def _person(self, access_token: str) -> Person:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {access_token}",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        user = await fetch_object(self._outbound, f"{self.settings.api_url}/user", headers)
        number = user.get("id")
        if type(number) is not int or not 0 < number < 2**63:
            raise untrusted("bad_subject")
        answer = await call(self._outbound, "GET", f"{self.settings.api_url}/user/emails", headers=headers)
        email = primary_email(json_in(answer) if answer.status == 200 else None)
        first, _, last = (name_of(user.get("name")) or "").partition(" ")
        return Person(
            issuer=self.settings.issuer,
            subject=str(number),
            email=email,
            is_email_verified=email is not None,
            is_authoritative=True,
            domain=None if email is None else email.rpartition("@")[2],
            first_name=first or None,
            last_name=last.strip() or None,
        )


def primary_email(listed: Any) -> str | None:
    """Return the primary address if it is verified. The public address of the profile may not be."""
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and one.get("primary") is True and one.get("verified") is True:
            return email_of(one.get("email"))
    return None
