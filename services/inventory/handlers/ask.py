"""Handlers for questions in English."""

from typing import Literal

from services.inventory.ask import asking
from services.inventory.ask.asking import Answer
from services.inventory.ask.model import Model
from services.inventory.ask.schemas import (
    AnswerOut,
    AskHealthOut,
    AskQuestion,
    ColumnOut,
    ExamplesOut,
    RunQuestion,
)
from shared.data.database import Database
from shared.events import Trail


async def ask_question(body: AskQuestion, database: Database, model: Model, trail: Trail) -> AnswerOut:
    """Ask about WorkSpaces in English. The answer repeats what was understood; nothing is guessed.

    A question with an unknown word goes to the language model, if there is one, which may only fill in the
    same query (`by`: `model`). Otherwise it is refused, with suggestions of similar questions.
    """
    zone = asking.zone_named(body.timezone)
    answer, by = await asking.ask_anyone(database, model, body.prompt, zone)
    trail.add(understood=answer.understood, by=by)
    return shown(answer, by)


async def run_question(body: RunQuestion, database: Database, trail: Trail) -> AnswerOut:
    """Run the query of an answer again, edited or not."""
    answer = await database.read(asking.answer, body.query, asking.zone_named(body.timezone))
    trail.add(understood=answer.understood)
    return shown(answer, "query")


def shown(answer: Answer, by: Literal["grammar", "model", "query"]) -> AnswerOut:
    """Return the answer as responses show it."""
    found = answer.found
    return AnswerOut(
        answer=answer.text,
        understood=answer.understood,
        query=asking.as_dict(answer.question),
        columns=[ColumnOut(name=one.name, unit=one.unit) for one in found.columns],
        rows=found.rows,
        total=found.total,
        truncated=found.total > len(found.rows),
        by=by,
        ms=answer.ms,
    )


def show_ask_health(model: Model) -> AskHealthOut:
    """Show what parses questions: a grammar, and a language model if there is one."""
    return AskHealthOut(status="healthy", grammar="ok", model=model.state)


def show_examples() -> ExamplesOut:
    """List example questions."""
    return ExamplesOut(examples=[*asking.EXAMPLES])
