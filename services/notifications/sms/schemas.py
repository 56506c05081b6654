"""The request and response bodies of phones and text messages."""

from typing import Annotated

from pydantic import Field

from services.notifications.settings import NUMBER
from shared.http.schemas import Input, Output, Text, example
from shared.words import pattern

TEXT_CHARACTERS_MAX = 459  # three segments of characters in GSM 03.38

Number = Annotated[str, Field(pattern=pattern(NUMBER, "must be a number such as +4930123456"))]
Code = Annotated[str, Field(pattern=pattern(r"^[0-9]{6}$", "must be the six digits of the message"))]


class EnterPhone(Input):
    model_config = example({"number": "+4930123456"})

    number: Number


class ConfirmPhone(Input):
    model_config = example({"code": "123456"})

    code: Code


class PhoneOut(Output):
    """Your phone. Text messages go to it only once it is confirmed."""

    model_config = example({"number": "+4930123456", "is_confirmed": True})

    number: str | None
    is_confirmed: bool


class TestSms(Input):
    """A text message to check whether messages arrive."""

    __test__ = False  # pytest would take it for a test

    model_config = example({"to": "+4930123456", "body": "It arrived."})

    to: Number
    body: Annotated[Text, Field(max_length=TEXT_CHARACTERS_MAX)]
