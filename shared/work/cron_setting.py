"""A setting for a schedule. It is apart from `cron`, which the launcher uses without loading pydantic."""

from typing import Annotated

from pydantic import AfterValidator

from shared.work.cron import Cron


def _checked(expression: str) -> str:
    if expression:
        Cron(expression)
    return expression


CronSetting = Annotated[str, AfterValidator(_checked)]  # empty: never
