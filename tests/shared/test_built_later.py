"""What pydantic builds for a model takes memory in every process, so it is built when first used."""

import subprocess
import sys

from pydantic import BaseModel

from shared.events.event import Event
from shared.http.schemas import Input, Output, Page, Query
from tests.shared.processes import ROOT

UNUSED = """
import importlib
from pathlib import Path
from sqlmodel import SQLModel
from shared.events.event import Event
from shared.http.schemas import Input, Output, Page, Query
for app in Path("services").glob("*/app.py"):
    importlib.import_module(f"services.{app.parent.name}.app")
def below(model):
    for one in model.__subclasses__():
        yield one
        yield from below(one)
bases = (Input, Output, Page, Query, Event, SQLModel)
models = {one for base in bases for one in below(base)}
print(len(models), *sorted(f"{one.__module__}.{one.__name__}" for one in models if one.__pydantic_complete__))
"""


def test_services_build_almost_no_model_when_they_are_imported() -> None:
    command = [sys.executable, "-c", UNUSED]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    number, *built = output.split()

    assert int(number) > 500
    assert len(built) <= 5, built  # as part of a validator that a module needs itself


def test_model_is_built_when_it_is_first_used() -> None:
    class In(Input):
        name: str

    class Out(Output):
        name: str

    class Asked(Query):
        name: str

    class Happened(Event):
        topic = "thing.happened"
        key = "name"
        name: str

    models: list[type[BaseModel]] = [In, Out, Asked, Happened, Page[Out]]
    assert not any(model.__pydantic_complete__ for model in models)
    for model in models[:-1]:
        assert model.model_validate({"name": "x"}).model_dump()["name"] == "x"
    page = Page[Out](items=[Out(name="x")])
    assert page.model_dump_json() == '{"items":[{"name":"x"}],"next":null,"extras":{}}'
    assert all(model.__pydantic_complete__ for model in models)
