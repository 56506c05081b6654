"""Handlers for questions in English."""

from typing import Literal

from services.inventory.ask import asking
from services.inventory.ask.asking import Answer
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


async def ask_question(body: AskQuestion, database: Database, trail: Trail) -> AnswerOut:
    """Ask about WorkSpaces in English. The answer repeats what was understood; nothing is guessed.

    A question with an unknown word is refused, with suggestions of similar questions that are understood.
    """
    answer = await database.read(asking.ask, body.prompt)
    trail.add(understood=answer.understood)
    return _out(answer, "grammar")


async def run_question(body: RunQuestion, database: Database, trail: Trail) -> AnswerOut:
    """Run the query of an answer again, edited or not."""
    answer = await database.read(asking.answer, body.query)
    trail.add(understood=answer.understood)
    return _out(answer, "query")


def _out(answer: Answer, by: Literal["grammar", "query"]) -> AnswerOut:
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


def show_ask_health() -> AskHealthOut:
    """Show what parses questions: a grammar; no model is connected."""
    return AskHealthOut(status="healthy", grammar="ok", model="off")


def show_examples() -> ExamplesOut:
    """List example questions."""
    return ExamplesOut(examples=[*asking.EXAMPLES])
