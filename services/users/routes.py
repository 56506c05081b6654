"""Every endpoint of the users service, one line each."""

from services.users import handlers
from services.users.errors import EmailTaken, LastAdmin, ProfileDeleted, UsernameTaken
from services.users.schemas import PREFERENCES_BYTES_MAX
from shared.errors import NotFound, Unavailable
from shared.identity import admin
from shared.operations import operation

TAKEN = (EmailTaken, UsernameTaken)

OPERATIONS = [
    operation("GET", "/users", handlers.list_users, access=admin),
    operation(
        "POST",
        "/users",
        handlers.create_user,
        access=admin,
        status=201,
        location="/users/{id}",
        errors=(*TAKEN, Unavailable),
    ),
    operation("GET", "/users/me", handlers.show_me, errors=(NotFound, Unavailable)),
    operation(
        "PUT",
        "/users/me",
        handlers.change_me,
        errors=(NotFound, *TAKEN, LastAdmin, ProfileDeleted, Unavailable),
    ),
    operation(
        "DELETE", "/users/me", handlers.delete_me, status=204, errors=(NotFound, LastAdmin, Unavailable)
    ),
    operation("GET", "/users/me/preferences", handlers.show_preferences, errors=(NotFound,)),
    operation(
        "PUT",
        "/users/me/preferences",
        handlers.put_preferences,
        errors=(NotFound, ProfileDeleted, Unavailable),
        body_bytes_max=PREFERENCES_BYTES_MAX,
    ),
    operation("GET", "/users/{user_id}", handlers.show_user, errors=(Unavailable,)),
    operation(
        "PUT",
        "/users/{user_id}",
        handlers.change_user,
        errors=(*TAKEN, LastAdmin, ProfileDeleted, Unavailable),
    ),
    operation(
        "DELETE", "/users/{user_id}", handlers.delete_user, status=204, errors=(LastAdmin, Unavailable)
    ),
]
