"""Fills a suite with the company, and again only with what is missing."""

from collections.abc import Callable
from http import HTTPStatus

from contracts.demo import MARK, PASSWORD
from gatehouse.demo import company
from gatehouse.demo.api import Api, Refused

Say = Callable[[str], None]
TICKET_PATHS = {
    "open": (), "waiting": ("in_progress", "waiting"), "in_progress": ("in_progress",),
    "resolved": ("in_progress", "resolved"), "closed": ("in_progress", "resolved", "closed"),
}  # fmt: skip


class Filling:
    """Works as the admin and as the people of the company; only what does not exist yet is made."""

    def __init__(self, admin: Api, say: Say) -> None:
        self._admin, self._say = admin, say
        self.people: list[tuple[str, Api]] = []
        self._products: list[str] = []

    def run(self) -> None:
        steps = (
            self._add_people,
            self._add_products,
            self._add_orders,
            self._add_files,
            self._add_tickets,
            self._add_reviews,
        )
        for step in steps:
            made = step()
            self._say(
                f"{step.__name__.removeprefix('_add_')}: {made} added"
                if made
                else f"{step.__name__.removeprefix('_add_')}: all there"
            )

    def _add_people(self) -> int:
        made = 0
        for person in company.PEOPLE:
            names = {"first_name": person.first, "last_name": person.last}
            try:
                answer = self._admin_free().post(
                    "/auth/register", {"email": person.email, "password": PASSWORD, **names}
                )
                made += 1
            except Refused as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
                answer = self._admin_free().post("/auth/login", {"email": person.email, "password": PASSWORD})
            self.people.append((answer["user"]["id"], Api(self._admin.url, answer["token"])))
        return made

    def _admin_free(self) -> Api:
        return Api(self._admin.url)

    def _add_products(self) -> int:
        there = {one["sku"]: one for one in self._admin.all("/products", search=company.SKU)}
        made = 0
        for one in company.PRODUCTS:
            known = there.get(one.sku)
            if known is None:
                body = {
                    "sku": one.sku,
                    "name": one.name,
                    "price": one.price,
                    "description": one.description,
                    "low_at": one.low_at,
                    "status": "active",
                    "tax_rate": 19,
                    "attributes": MARK,
                }
                known = self._admin.post("/products", body)
                self._receive(known["id"], one.stock)
                made += 1
            elif known["status"] == "archived" and MARK.items() <= known["attributes"].items():
                # `--remove` archives what others have ordered.
                self._admin.send("PUT", f"/products/{known['id']}", {"status": "active"})
                self._receive(known["id"], one.stock - known["available"])
                made += 1
            self._products.append(known["id"])
        return made

    def _receive(self, product_id: str, pieces: int) -> None:
        if pieces > 0:
            body = {"kind": "receive", "quantity": pieces, "reason": "demo"}
            self._admin.post(f"/products/{product_id}/stock/moves", body)

    def _add_orders(self) -> int:
        """Add the orders of each person beyond those that the person has."""
        counts = [len(api.all("/orders", user_id=person)) for person, api in self.people]
        made = 0
        for order in company.orders():
            if counts[order.person]:
                counts[order.person] -= 1
                continue
            lines = [
                {"product_id": self._products[product], "quantity": quantity}
                for product, quantity in order.lines
            ]
            placed = self.people[order.person][1].post("/orders", {"lines": lines})
            for status in order.steps:
                self._admin.send("PUT", f"/orders/{placed['id']}", {"status": status})
            made += 1
        return made

    def _add_files(self) -> int:
        made = 0
        for person, (_, api) in enumerate(self.people):
            mine = [file for file in company.FILES if file.person == person]
            there = {one["name"] for one in api.all("/files")} if mine else set()
            for file in mine:
                if file.name not in there:
                    api.upload(file.name, file.kind, file.text.encode())
                    made += 1
        return made

    def _add_tickets(self) -> int:
        made = 0
        for ticket in company.TICKETS:
            person, api = self.people[ticket.person]
            if any(one["subject"] == ticket.subject for one in api.all("/tickets", user_id=person)):
                continue
            body = {
                "subject": ticket.subject,
                "description": ticket.description,
                "priority": ticket.priority,
                "category": ticket.category,
            }
            self._converse(api.post("/tickets", body)["id"], api, ticket)
            made += 1
        return made

    def _converse(self, ticket_id: str, owner: Api, ticket: company.Ticket) -> None:
        for number, text in enumerate(ticket.replies):
            who = owner if number % 2 else self._admin
            who.post(f"/tickets/{ticket_id}/replies", {"content": text})
        for status in TICKET_PATHS[ticket.status]:
            if self._admin.get(f"/tickets/{ticket_id}")["status"] != status:  # a reply may have led there
                self._admin.send("PUT", f"/tickets/{ticket_id}/status", {"status": status})

    def _add_reviews(self) -> int:
        """Add a review by somebody who has received the product and has not reviewed it."""
        bought = self._bought()
        made = 0
        for number, (product, stars, title, content) in enumerate(company.REVIEWS):
            product_id = self._products[product]
            for person in bought.get(product_id, ()):
                api = self.people[person][1]
                mine = [one["title"] for one in api.all("/reviews/my") if one["resource_id"] == product_id]
                if title in mine:
                    break
                if mine:  # a person writes one review of a product
                    continue
                body = {
                    "resource_type": "product",
                    "resource_id": product_id,
                    "rating": stars,
                    "title": title,
                    "content": content,
                }
                written = api.post("/reviews", body)
                if number % 3 != 2:  # some wait for a moderator
                    self._admin.send(
                        "PUT",
                        f"/reviews/{written['id']}/moderate",
                        {"status": "approved"},
                        written["version"],
                    )
                made += 1
                break
        return made

    def _bought(self) -> dict[str, list[int]]:
        """Return who was delivered each product."""
        found: dict[str, list[int]] = {}
        for person, (person_id, api) in enumerate(self.people):
            for order in api.all("/orders", user_id=person_id, status="delivered"):
                for line in api.get(f"/orders/{order['id']}").get("lines", ()):
                    found.setdefault(line["product_id"], []).append(person)
        return found
