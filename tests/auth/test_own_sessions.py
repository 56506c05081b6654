"""/auth/me/sessions and /auth/me/apps."""

import httpx

from shared.testing import bearer
from tests.auth.oauth.support import (
    authorize,
    create_client,
    is_active,
    is_refused,
    refresh,
    signed_in_browser,
    tokens_for,
)
from tests.auth.support import login, register


async def own(auth: httpx.AsyncClient, name: str) -> dict[str, str]:
    return bearer((await login(auth, name)).json()["token"])


async def test_sessions_are_listed_and_ended_one_by_one(auth: httpx.AsyncClient) -> None:
    user = await signed_in_browser(auth)  # two sessions: one from registration, one from the sign-in page
    here, there = await own(auth, user["email"]), await own(auth, user["email"])
    listed = (await auth.get("/auth/me/sessions", headers=here)).json()
    (current,) = [one for one in listed if one["is_current"]]
    page = await auth.get("/auth/me/sessions?limit=3", headers=here)

    assert len(listed) == 4
    assert all(one["amr"] == ["pwd"] for one in listed)
    assert len(page.json()) == 3
    assert "link" in page.headers
    (other,) = [
        one for one in (await auth.get("/auth/me/sessions", headers=there)).json() if one["is_current"]
    ]
    path = f"/auth/me/sessions/{other['id']}"
    assert (await auth.delete(path, headers=here)).status_code == 204
    assert (await auth.get("/auth/me", headers=there)).status_code == 401
    assert (await auth.get("/auth/me", headers=here)).status_code == 200
    assert (await auth.delete(path, headers=here)).status_code == 404
    assert (await auth.delete(f"/auth/me/sessions/{current['id']}", headers=here)).status_code == 204
    assert (await auth.get("/auth/me", headers=here)).status_code == 401


async def test_session_of_another_account_is_404(auth: httpx.AsyncClient) -> None:
    first, second = await register(auth), await register(auth)
    headers = bearer(second["token"])
    (mine,) = (await auth.get("/auth/me/sessions", headers=bearer(first["token"]))).json()

    assert (await auth.delete(f"/auth/me/sessions/{mine['id']}", headers=headers)).status_code == 404
    assert (await auth.delete("/auth/me/sessions/x", headers=headers)).status_code == 422
    for path in ("/auth/me/sessions", "/auth/me/apps"):
        assert (await auth.get(path)).status_code == 401


async def test_app_is_listed_and_can_be_disconnected(auth: httpx.AsyncClient) -> None:
    client, other = await create_client(auth), await create_client(auth)
    user = await signed_in_browser(auth)
    tokens = await tokens_for(auth, client, scope="openid email offline_access")
    kept = await tokens_for(auth, other)
    headers, path = await own(auth, user["email"]), f"/auth/me/apps/{client['id']}"
    listed = (await auth.get("/auth/me/apps", headers=headers)).json()
    (shown,) = [app for app in listed if app["client_id"] == client["client_id"]]

    assert len(listed) == 2
    assert (shown["name"], shown["scopes"]) == ("Ledgerline", ["email", "offline_access", "openid"])
    stranger = bearer((await register(auth))["token"])
    assert (await auth.delete(path, headers=stranger)).status_code == 404
    assert (await auth.delete(path, headers=headers)).status_code == 204
    assert is_refused(await refresh(auth, client, tokens["refresh_token"]), "invalid_grant")
    assert not await is_active(auth, client, tokens["access_token"])
    assert await is_active(auth, other, kept["access_token"])
    assert (await authorize(auth, client)).status_code == 200  # asks for consent again
    assert (await auth.delete(path, headers=headers)).status_code == 404


async def test_app_cannot_see_or_end_sessions(auth: httpx.AsyncClient) -> None:
    client = await create_client(auth, scopes=["full_access"])
    await signed_in_browser(auth)
    headers = bearer((await tokens_for(auth, client, scope="full_access"))["access_token"])

    for path in ("/auth/me/sessions", "/auth/me/apps"):
        response = await auth.get(path, headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "not_interactive")
