"""`gatehouse demo`: fill a suite with an invented company, or remove the company again."""

import argparse
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from contracts.demo import DOMAIN, PASSWORD
from gatehouse import programs
from gatehouse.demo import NotDone, company
from gatehouse.demo.api import Api, Refused
from gatehouse.demo.filling import Filling
from gatehouse.doctor.configuration import is_loopback
from gatehouse.place import ROOT

if TYPE_CHECKING:
    from sqlmodel import Session


TOKEN = "DEMO_TOKEN"  # noqa: S105 - the name of a variable
WAIT_SECONDS, PAUSE_SECONDS = 180, 1.0
DATED = ("orders", "support")  # services whose own code sets past dates, which the API cannot


def fill(arguments: argparse.Namespace) -> int:
    """Fill the running suite with the company, or remove it."""
    try:
        suite = Suite()
        if arguments.wait:
            suite.wait()
        if arguments.remove:
            suite.remove()
        else:
            suite.fill()
    except NotDone as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    return 0


@contextmanager
def beside_the_suite() -> Iterator[None]:
    """Fill the suite from a process of its own, once it is ready."""
    command = [sys.executable, "-m", "gatehouse", "demo", "--fill", "--wait"]
    filling = subprocess.Popen(command)  # noqa: S603 - this program
    try:
        yield
    finally:
        filling.terminate()
        filling.wait()


class Suite:
    """The running suite of this environment. Refuses production, and suites that other machines can reach."""

    def __init__(self) -> None:
        self._programs = {one.name: one for one in programs.load(ROOT, os.environ)}
        settings: Any = self._programs["auth"].settings
        if any(one.settings.environment == "production" for one in self._programs.values()):
            raise NotDone("this is for development: a production suite gets no invented company")
        gateway = self._programs[programs.GATEWAY].settings
        if not (is_loopback(settings.host) and is_loopback(gateway.host)):
            raise NotDone("others can reach this suite, and the password of the company is public")
        self._name, self._password = settings.admin_username, settings.first_admin_password()
        self._api = Api(f"http://{gateway.host}:{gateway.port}")

    def wait(self) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self._api.get("/health")
            except NotDone:
                if time.monotonic() > end:
                    raise
                time.sleep(PAUSE_SECONDS)
            else:
                return

    def fill(self) -> None:
        filling = Filling(self._admin(), _say)
        filling.run()
        owners = [person for person, _ in filling.people]
        moved = sum(self._own(name, "move_back", owners, company.DAYS) for name in DATED)
        _say(f"dated {moved} of them over the last {company.DAYS} days")
        _say(f"sign in as {company.PEOPLE[0].email} with the password: {PASSWORD}")

    def remove(self) -> None:
        admin = self._admin()
        ending = f"@{DOMAIN}"
        people = [one["id"] for one in admin.all("/users", q=DOMAIN) if str(one["email"]).endswith(ending)]
        skus = [one.sku for one in company.PRODUCTS]
        _say(f"orders: {self._own('orders', 'remove', people, skus)} removed")
        for person in people:
            admin.send("DELETE", f"/users/{person}")
        _say(f"people: {len(people)} removed, with their files, tickets and reviews")

    def _admin(self) -> Api:
        if token := os.environ.get(TOKEN):
            return Api(self._api.url, token)
        try:
            return self._api.sign_in(self._name, self._password or "")
        except Refused as error:
            raise NotDone(
                f"{error}. If the admin has another password, put a token of an admin into {TOKEN}."
            ) from None

    def _own(self, name: str, function: str, owners: Sequence[str], *rest: Any) -> int:
        """Run a function of a service's own demo module on the service's database."""
        program = self._programs[name]
        with programs.environment_of_process(program.environment), _transaction(program) as session:
            done: int = getattr(importlib.import_module(f"{program.module}.demo"), function)(
                session, owners, *rest
            )
        return done


@contextmanager
def _transaction(program: programs.Program) -> Iterator["Session"]:
    """Open the database as the service does; events are written to the outbox, and the service sends them."""
    from contracts.events import SUBSCRIBERS
    from shared.data.database import Database
    from shared.events import Events
    from shared.peers.client import HttpClient

    settings: Any = program.settings
    database = Database(settings.database_url, pool_size=1)
    try:
        tables = importlib.import_module(f"{program.module}.models").EVENTS
        Events(tables, {}, SUBSCRIBERS).attach(settings, database, HttpClient())
        with database.transaction() as session:
            yield session
    finally:
        database.close()


def _say(text: str) -> None:
    sys.stdout.write(f"demo: {text}\n")
    sys.stdout.flush()
