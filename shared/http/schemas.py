"""Base classes and field types of requests and responses."""

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, PrivateAttr, StringConstraints

from shared.words import pattern

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
# The four slots of every model, set without going through `__setattr__`.
_SLOTS: Mapping[str, Any] = vars(BaseModel)
_set_fields = _SLOTS["__dict__"].__set__
_set_given = _SLOTS["__pydantic_fields_set__"].__set__
_set_extra = _SLOTS["__pydantic_extra__"].__set__
_set_private = _SLOTS["__pydantic_private__"].__set__
_EXTRA = re.compile(r"[a-z][a-z0-9_]{0,39}=-?(?:[0-9]{1,15}|[0-9]{1,12}\.[0-9]{1,3})")
_NONE_GIVEN: frozenset[str] = frozenset()
# Validators are built when first used: there are hundreds of models, and each process uses few of them.
BUILT_LATER = ConfigDict(defer_build=True)


def unchecked(kind: type[M], fields: dict[str, Any]) -> M:
    """Return a model with exactly these fields, without validating them."""
    made = kind.__new__(kind)
    _set_fields(made, fields)
    _set_given(made, _NONE_GIVEN)
    _set_extra(made, None)
    _set_private(made, None)
    return made


def example(fields: dict[str, Any]) -> ConfigDict:
    """Return a `model_config` with this example for the documentation."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class Input(BaseModel):
    """A request body. Unknown fields are refused; neither "1" nor NaN is accepted as a number."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, **BUILT_LATER)


class Query(BaseModel):
    """A query string. Unknown parameters are refused; text is converted to the type of its field."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, **BUILT_LATER)


class Output(BaseModel):
    """A response, built from the attributes of a row."""

    model_config = ConfigDict(from_attributes=True, **BUILT_LATER)

    @classmethod
    def unchecked(cls, values: Mapping[str, Any], **computed: Any) -> Self:
        """Build a response from values of our own database, which were validated when stored.

        Values without a field are ignored. This is four times as fast as model_construct, which is
        noticeable on a page of fifty rows.
        """
        empty, stored = _fields_of(cls, tuple(computed))
        return unchecked(cls, empty | {name: values[name] for name in stored} | computed)

    @classmethod
    def taking(cls, row: dict[str, Any], **computed: Any) -> Self:
        """Do the same for a row that nobody else uses, and that has every field: it becomes the response.

        This takes a third less time than `unchecked`. Values without a field are not sent.
        """
        row.update(computed)
        return unchecked(cls, row)


@lru_cache(maxsize=1024)
def _fields_of(kind: type[BaseModel], computed: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields of a response in their order, all empty, and the names of those not computed."""
    names = kind.__pydantic_fields__
    return dict.fromkeys(names), tuple(name for name in names if name not in computed)


class Done(Output):
    """Nothing more to say."""

    model_config = example({})


class Versioned(Output):
    """A response whose version is sent as its ETag."""

    version: int


class WithHeaders(Output):
    """A response with additional headers."""

    _headers: tuple[tuple[str, str], ...] = PrivateAttr(default=())

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return self._headers

    def with_header(self, name: str, value: str) -> Self:
        self._headers += ((name, value),)
        return self


class Page(BaseModel, Generic[T]):
    """One page of a list; `next` is the cursor of the next page.

    `extras` are numbers about the whole list, such as a total. They are sent in the Page-Extras header, or in
    an envelope's `meta`.
    """

    model_config = BUILT_LATER

    items: list[T]
    next: str | None = None
    extras: Mapping[str, int | Decimal] = {}


def extras_header(extras: Mapping[str, int | Decimal]) -> str:
    """Format the numbers as a structured-field dictionary (RFC 9651): `total=120, average=4.25`."""
    members = []
    for name, number in extras.items():
        written = f"{number:f}" if isinstance(number, Decimal) else str(number)
        if not _EXTRA.fullmatch(f"{name}={written}"):
            raise ValueError(f"{name}={written} cannot be sent in Page-Extras")
        members.append(f"{name}={written}")
    return ", ".join(members)


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the character U+0000")
    return text


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_storable)]
ID_PATTERN = pattern(
    r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
    "must be a UUID, like every `id` in a response",
)
Id = Annotated[str, StringConstraints(to_lower=True, pattern=ID_PATTERN)]
