"""The examples in the documentation, and the explanations of string patterns."""

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gatehouse import programs
from shared import words
from shared.http.schemas import Input, Output

ROOT = Path(__file__).parent.parent
SERVICES = [name for name in programs.find(ROOT) if name != programs.GATEWAY]


def models(service: str) -> Iterator[type[BaseModel]]:
    module = importlib.import_module(f"services.{service}.schemas")
    for kind in vars(module).values():
        if inspect.isclass(kind) and issubclass(kind, BaseModel) and kind.__module__ == module.__name__:
            yield kind


MODELS = [kind for service in SERVICES for kind in models(service)]
READ = [kind for kind in MODELS if not issubclass(kind, Output)]
SHOWN = [kind for kind in MODELS if issubclass(kind, Input | Output)]


@pytest.mark.parametrize("kind", SHOWN, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_request_and_response_bodies_have_a_valid_example(kind: type[BaseModel]) -> None:
    [example] = kind.model_json_schema(mode="validation").get("examples", [None])

    assert example is not None, "give it a model_config = example({...})"
    shown = issubclass(kind, Output) and "entries" in kind.model_fields  # serialized without its field
    given = {"entries": example, "version": 1} if shown else example
    checked = kind.model_validate_json(json.dumps(given))
    if issubclass(kind, Output) and not shown:
        assert example.keys() == json.loads(checked.model_dump_json()).keys()


def patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        yield from (found for part in schema.values() for found in patterns(part))
    elif isinstance(schema, list):
        yield from (found for part in schema for found in patterns(part))


@pytest.mark.parametrize("kind", READ, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_pattern_is_explained_in_words(kind: type[BaseModel]) -> None:
    # Pydantic's own pattern for Decimal is reported with other error types.
    unexplained = [one for one in patterns(kind.model_json_schema()) if words.words_for_pattern(one) is None]
    assert [one for one in unexplained if "?!^[-+.]*$" not in one] == []


def test_examples_of_responses_contain_no_password() -> None:
    answers = [kind.model_json_schema().get("examples") for kind in SHOWN if issubclass(kind, Output)]
    assert re.search("password", json.dumps(answers)) is None
