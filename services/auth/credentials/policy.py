"""What a new password must not be."""

from services.auth.schemas import is_a_name_of
from shared.errors import FieldFault, Invalid


def require_good_password(password: str, field: str, *names: str | None) -> None:
    """Refuse a password that anybody would try first at this account, as a fault of the field."""
    if is_a_name_of(password, *names):
        message = "must not be the e-mail address or the username"
        raise Invalid(errors=[FieldFault(field=field, code="value_error", message=message)])
