"""The invented company: its people, products, orders, files, tickets and reviews.

Everything is marked: accounts have addresses in DOMAIN, which nobody can own (RFC 2606), and products
have the attributes of MARK. Their SKUs begin with SKU.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

from contracts.demo import DOMAIN

SKU = "DEMO-"
DAYS = 180
ORDERS = 60


class Person(NamedTuple):
    first: str
    last: str

    @property
    def email(self) -> str:
        return f"{self.first}.{self.last}@{DOMAIN}".lower()


class Product(NamedTuple):
    sku: str
    name: str
    price: str
    stock: int
    low_at: int
    description: str


class Ticket(NamedTuple):
    """`replies` alternate: the first is from support. `status` is the final state."""

    person: int
    subject: str
    description: str
    priority: str
    category: str
    replies: tuple[str, ...] = ()
    status: str = "open"


class File(NamedTuple):
    person: int
    name: str
    kind: str
    text: str


class Order(NamedTuple):
    """`lines` are the numbers of products, each with a quantity; `steps` are taken by the admin."""

    person: int
    lines: tuple[tuple[int, int], ...]
    steps: tuple[str, ...]


PEOPLE = (
    Person("Ines", "Albrecht"),
    Person("Tomas", "Berg"),
    Person("Noor", "Haddad"),
    Person("Lucia", "Moretti"),
    Person("Kwame", "Boateng"),
    Person("Sofie", "Lindholm"),
    Person("Daniel", "Okafor"),
    Person("Mei", "Tanaka"),
)
PRODUCTS = (
    Product(
        "DEMO-DESK-160", "Standing desk 160 cm", "489.00", 90, 10, "Height from 62 to 128 cm, with memory."
    ),
    Product(
        "DEMO-CHAIR-01", "Office chair", "329.00", 140, 15, "Mesh back, adjustable arms and lumbar support."
    ),
    Product("DEMO-LAMP-02", "Desk lamp", "59.90", 200, 25, "Dimmable, 2,700 to 5,000 K."),
    Product("DEMO-DOCK-11", "Docking station", "189.00", 60, 12, "Two displays, 100 W, gigabit Ethernet."),
    Product("DEMO-MON-27", "Monitor 27 inch", "279.00", 75, 10, "2560 by 1440, with a stand that turns."),
    Product("DEMO-KEYS-87", "Keyboard", "89.00", 160, 20, "87 keys, quiet switches."),
    Product(
        "DEMO-HEAD-05", "Headset", "129.00", 110, 20, "With a microphone that mutes when it is folded up."
    ),
    Product("DEMO-CABLE-2M", "USB-C cable 2 m", "14.50", 400, 60, "100 W, 10 Gbit/s."),
)
TICKETS = (
    Ticket(
        0,
        "The parcel came without a table top",
        "Order of two desks: one box contained only the legs.",
        "high",
        "delivery",
        ("We are sorry. The missing part leaves our store today.", "It has arrived, thank you."),
        "resolved",
    ),
    Ticket(
        1,
        "Invoice with our VAT number",
        "Our accounting needs the VAT number on the invoice of last month.",
        "medium",
        "billing",
        ("Which number should it be?",),
        "waiting",
    ),
    Ticket(
        2,
        "The docking station loses its network",
        "Every few hours the cable connection is gone until we replug it.",
        "high",
        "technical",
        ("Which version of the firmware is shown in its settings?", "It says 1.0.4."),
        "in_progress",
    ),
    Ticket(
        3,
        "Can we order 40 chairs at once?",
        "We furnish a new floor in spring and would like one delivery.",
        "low",
        "sales",
        ("Yes. We reserve them as soon as you order.",),
        "resolved",
    ),
    Ticket(
        4,
        "A key sticks on two keyboards",
        "The space bars of two keyboards have been sticking since Monday.",
        "medium",
        "technical",
    ),
    Ticket(
        5,
        "Wrong delivery address",
        "Our office moved, and the last order went to the old building.",
        "urgent",
        "delivery",
    ),
    Ticket(
        6,
        "Return of a lamp",
        "One lamp is too bright for the room. How do we send it back?",
        "low",
        "returns",
        ("Use the label that we attached to this reply.",),
        "closed",
    ),
    Ticket(
        7,
        "Monitor flickers at 60 Hz",
        "With the docking station the picture flickers for a second each hour.",
        "medium",
        "technical",
        ("Thank you. We can reproduce it and look for the cause.",),
        "in_progress",
    ),
)
FILES = (
    File(
        0,
        "offer-2026-014.txt",
        "text/plain",
        "Offer 2026-014\n\n12 standing desks, 12 chairs\nValid for 30 days.\n",
    ),
    File(0, "floor-plan.csv", "text/csv", "room,desks,chairs\nNorth,6,6\nSouth,4,5\nQuiet,2,2\n"),
    File(
        1,
        "costs-by-month.csv",
        "text/csv",
        "month,eur\n2026-05,4210\n2026-06,3890\n2026-07,5120\n2026-08,2980\n",
    ),
    File(
        2,
        "network-notes.md",
        "text/markdown",
        "# Docking stations\n\nFirmware 1.0.4 drops the link. 1.1.0 does not.\n",
    ),
    File(
        3, "new-floor.md", "text/markdown", "# New floor\n\n- 40 chairs\n- 20 desks\n- lamps: measure first\n"
    ),
    File(4, "inventory.csv", "text/csv", "sku,count\nDEMO-KEYS-87,31\nDEMO-HEAD-05,18\n"),
    File(5, "address.txt", "text/plain", "New address from the first of the month: see the order form.\n"),
    File(7, "monitor-log.txt", "text/plain", "09:00 flicker\n10:01 flicker\n11:00 flicker\n"),
)
# Each of a product, with stars and two texts.
REVIEWS = (
    (0, 5, "Quiet and steady", "Two of us use one in turns, and the memory saves the argument."),
    (0, 4, "Good, but heavy", "Take a second person for the stairs."),
    (1, 5, "No more back pain", "It took a day to find the right setting."),
    (2, 3, "Bright", "Fine for the workshop, too bright for the meeting room."),
    (3, 2, "Loses the network", "Wait for the new firmware."),
    (4, 5, "Sharp", "The stand turns easily, and it stays where it is put."),
    (5, 4, "Really quiet", "Nobody has complained since."),
)


def orders() -> Iterator[Order]:
    """Yield the orders, the oldest first; always the same ones."""
    chance = random.Random("gatehouse demo")  # noqa: S311 - invented data
    whole = ("confirmed", "shipped", "delivered")
    open_paths = tuple(whole[:length] for length in range(4))
    for number in range(ORDERS):
        is_old = number < ORDERS - 12
        path = chance.choices((whole, ("cancelled",)), (12, 1))[0] if is_old else chance.choice(open_paths)
        if is_old and path[-1] == "delivered" and chance.random() < 0.05:
            path = (*path, "returned")
        chosen = chance.sample(range(len(PRODUCTS)), chance.choice((1, 1, 2, 3)))
        lines = tuple((product, chance.choice((1, 1, 2, 2, 4))) for product in chosen)
        yield Order(chance.randrange(len(PEOPLE)), lines, path)
