"""The endpoints of the users service."""

from services.users.errors import EmailTaken, LastAdmin, ProfileDeleted, UsernameTaken
from services.users.handlers import users
from services.users.schemas import PREFERENCES_BYTES_MAX
from shared.errors import NotFound, SignInAgain, Unavailable
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import admin, in_person

TAKEN = (EmailTaken, UsernameTaken)

OPERATIONS = [
    Operation("GET", "/users", users.list_users, scope="admin:users", access=admin),
    Operation(
        "POST",
        "/users",
        users.create_user,
        scope="admin:users",
        access=admin,
        step_up=RECENT,
        status=201,
        location="/users/{id}",
        errors=(*TAKEN, Unavailable),
    ),
    Operation(
        "GET",
        "/users/me",
        users.show_me,
        scope="users:read",
        action="SHOW_USER",
        errors=(NotFound, Unavailable),
    ),
    Operation(
        "PUT",
        "/users/me",
        users.change_me,
        scope="users:write",
        action="CHANGE_USER",
        errors=(NotFound, SignInAgain, *TAKEN, LastAdmin, ProfileDeleted, Unavailable),
    ),
    Operation(
        "DELETE",
        "/users/me",
        users.delete_me,
        scope="users:write",
        access=in_person,
        step_up=RECENT,
        action="DELETE_USER",
        status=204,
        errors=(NotFound, LastAdmin, Unavailable),
    ),
    Operation("GET", "/users/me/preferences", users.show_preferences, scope="users:read", errors=(NotFound,)),
    Operation(
        "PUT",
        "/users/me/preferences",
        users.put_preferences,
        scope="users:write",
        action="CHANGE_PREFERENCES",
        errors=(NotFound, ProfileDeleted, Unavailable),
        body_bytes_max=PREFERENCES_BYTES_MAX,
    ),
    Operation("GET", "/users/{user_id}", users.show_user, scope="users:read", errors=(Unavailable,)),
    Operation(
        "PUT",
        "/users/{user_id}",
        users.change_user,
        scope="users:write",
        errors=(SignInAgain, *TAKEN, LastAdmin, ProfileDeleted, Unavailable),
    ),
    Operation(
        "DELETE",
        "/users/{user_id}",
        users.delete_user,
        scope="users:write",
        access=in_person,
        step_up=RECENT,
        status=204,
        errors=(LastAdmin, Unavailable),
    ),
]
