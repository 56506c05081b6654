"""The people in the tests of the support service."""

from typing import Any

import httpx

from shared.ids import new_id
from shared.testing import bearer, token
from tests.support.peers import ADMIN, AGENT, OTHER_AGENT

TICKETS = "/tickets"
TEXT = {"subject": "The parcel is damaged", "description": "One corner of the box is open."}


class People:
    """Each person is a set of headers."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.owner_id, self.stranger_id = new_id(), new_id()
        self.owner, self.stranger = bearer(token(self.owner_id)), bearer(token(self.stranger_id))
        self.agent, self.other_agent = bearer(token(AGENT)), bearer(token(OTHER_AGENT))
        self.admin = bearer(token(ADMIN, role="admin"))

    async def hire(self) -> None:
        for agent in (AGENT, OTHER_AGENT):
            response = await self.client.put(f"/tickets/staff/{agent}", headers=self.admin)
            assert response.status_code == 200, response.text

    async def open(self, **fields: Any) -> dict[str, Any]:
        """Create a ticket of the owner."""
        response = await self.client.post(TICKETS, json={**TEXT, **fields}, headers=self.owner)
        assert response.status_code == 201, response.text
        found: dict[str, Any] = response.json()
        return found

    async def reply(
        self, ticket: dict[str, Any], who: dict[str, str], content: str = "Hello", **fields: Any
    ) -> dict[str, Any]:
        path = f"{TICKETS}/{ticket['id']}/replies"
        response = await self.client.post(path, json={"content": content, **fields}, headers=who)
        assert response.status_code == 201, response.text
        found: dict[str, Any] = response.json()
        return found

    async def show(self, ticket: dict[str, Any], who: dict[str, str] | None = None) -> dict[str, Any]:
        response = await self.client.get(f"{TICKETS}/{ticket['id']}", headers=who or self.owner)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def change(self, ticket: dict[str, Any], who: dict[str, str], **fields: Any) -> httpx.Response:
        return await self.client.put(f"{TICKETS}/{ticket['id']}", json=fields, headers=who)

    async def move(
        self, ticket: dict[str, Any], who: dict[str, str], status: str, **headers: str
    ) -> httpx.Response:
        path = f"{TICKETS}/{ticket['id']}/status"
        return await self.client.put(path, json={"status": status}, headers={**who, **headers})
