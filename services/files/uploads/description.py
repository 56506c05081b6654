"""The description of a file, validated before its bytes are received."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.files.models import Visibility
from services.files.names import good_name, last_part
from services.files.schemas import METADATA, VISIBILITY, dumped
from shared.caller import Caller
from shared.http.inputs import valid_field
from shared.identity.tokens import in_person


@dataclass(frozen=True, slots=True)
class Described:
    name: str
    declared_type: str | None
    visibility: Visibility
    details: str


def permitted(described: Described, caller: Caller) -> Described:
    """Return the description. An impersonating admin may not make a file public: it would stay public."""
    if described.visibility == Visibility.PUBLIC:
        in_person(caller)
    return described


def describe(name: str, declared_type: str | None, fields: Mapping[str, str]) -> Described:
    """Parse and validate the text fields; some clients send a path as the name, and fields are optional."""
    visibility = valid_field("visibility", VISIBILITY.validate_python, fields.get("visibility", "private"))
    metadata = valid_field("metadata", METADATA.validate_json, fields.get("metadata", "{}"))
    return Described(good_name(last_part(name)), declared_type, visibility, dumped(metadata))
