"""The endpoints of the users service."""

from services.users.errors import (
    EmailTaken,
    LastAdmin,
    ProfileDeleted,
    SettingExists,
    TooManySettings,
    UsernameTaken,
)
from services.users.handlers import (
    classic_settings,
    classic_users,
    dashboard,
    settings,
    status,
    team,
    users,
)
from services.users.people import find_caller
from services.users.schemas import PREFERENCES_BYTES_MAX
from shared.errors import NotFound, SignInAgain, Unavailable
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import admin, in_person, internal, public

TAKEN = (EmailTaken, UsernameTaken)

USERS = [
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
# The older form of users, which `/api/v1` leads to.
CLASSIC_ME, CLASSIC_USER = "/classic/users/me", "/classic/users/{user_id}"
CLASSIC_USERS = [
    Operation(
        "GET",
        "/classic/users",
        classic_users.list_classic_users,
        scope="admin:users",
        access=admin,
        action="LIST_USERS",
        errors=(Unavailable,),
    ),
    Operation(
        "GET",
        CLASSIC_ME,
        classic_users.show_classic_me,
        scope="users:read",
        action="SHOW_USER",
        errors=(NotFound, Unavailable),
    ),
    Operation(
        "PUT",
        CLASSIC_ME,
        classic_users.put_classic_me,
        scope="users:write",
        action="CHANGE_USER",
        errors=(NotFound, ProfileDeleted, Unavailable),
    ),
    Operation(
        "DELETE",
        CLASSIC_ME,
        classic_users.delete_classic_me,
        scope="users:write",
        access=in_person,
        step_up=RECENT,
        action="DELETE_USER",
        errors=(NotFound, LastAdmin, Unavailable),
    ),
    Operation(
        "GET",
        CLASSIC_USER,
        classic_users.show_classic_user,
        scope="admin:users",
        access=admin,
        action="SHOW_USER",
        errors=(Unavailable,),
    ),
    Operation(
        "PUT",
        CLASSIC_USER,
        classic_users.put_classic_user,
        scope="admin:users",
        access=admin,
        action="CHANGE_USER",
        errors=(ProfileDeleted, Unavailable),
    ),
    Operation(
        "DELETE",
        CLASSIC_USER,
        classic_users.delete_classic_user,
        scope="admin:users",
        access=admin,
        step_up=RECENT,
        action="DELETE_USER",
        errors=(LastAdmin, Unavailable),
    ),
    Operation(
        "PUT",
        f"{CLASSIC_USER}/status",
        classic_users.put_classic_user_status,
        scope="admin:users",
        access=admin,
        step_up=RECENT,
        action="CHANGE_USER",
        errors=(LastAdmin, ProfileDeleted, Unavailable),
    ),
]
READ_SETTINGS, WRITE_SETTINGS, ADMINISTER_SETTINGS = "settings:read", "settings:write", "admin:settings"
SYSTEM_SETTING, OWN_SETTING = "/settings/system/{key}", "/settings/user/{key}"
SETTINGS = [
    Operation("GET", "/settings/public", settings.list_public_settings, access=public, scope=READ_SETTINGS),
    Operation(
        "GET", "/settings/system", settings.list_system_settings, access=admin, scope=ADMINISTER_SETTINGS
    ),
    Operation(
        "POST",
        "/settings/system",
        settings.add_system_setting,
        access=admin,
        scope=ADMINISTER_SETTINGS,
        status=201,
        location="/settings/system/{key}",
        errors=(SettingExists, TooManySettings),
    ),
    Operation("GET", SYSTEM_SETTING, settings.show_system_setting, access=admin, scope=ADMINISTER_SETTINGS),
    Operation(
        "PUT",
        SYSTEM_SETTING,
        settings.put_system_setting,
        access=admin,
        scope=ADMINISTER_SETTINGS,
        errors=(TooManySettings,),
    ),
    Operation(
        "DELETE",
        SYSTEM_SETTING,
        settings.delete_system_setting,
        access=admin,
        scope=ADMINISTER_SETTINGS,
        status=204,
    ),
    Operation("GET", "/settings/user", settings.list_own_settings, scope=READ_SETTINGS),
    Operation(
        "POST",
        "/settings/user",
        settings.add_own_setting,
        scope=WRITE_SETTINGS,
        status=201,
        location="/settings/user/{key}",
        prepare=find_caller,
        errors=(NotFound, SettingExists, TooManySettings, ProfileDeleted, Unavailable),
    ),
    Operation("GET", OWN_SETTING, settings.show_own_setting, scope=READ_SETTINGS),
    Operation(
        "PUT",
        OWN_SETTING,
        settings.put_own_setting,
        scope=WRITE_SETTINGS,
        prepare=find_caller,
        errors=(TooManySettings, ProfileDeleted, Unavailable),
    ),
    Operation("DELETE", OWN_SETTING, settings.delete_own_setting, scope=WRITE_SETTINGS, status=204),
    Operation(
        "GET", "/internal/settings/{key}", settings.open_setting, access=internal, errors=(Unavailable,)
    ),
]
# The older form of settings, which `/api/v1` leads to.
CLASSIC_SYSTEM, CLASSIC_OWN = f"/classic{SYSTEM_SETTING}", f"/classic{OWN_SETTING}"
CLASSIC_SETTINGS = [
    Operation(
        "GET",
        "/classic/settings/system",
        classic_settings.list_classic_system_settings,
        access=admin,
        scope=ADMINISTER_SETTINGS,
    ),
    Operation(
        "POST",
        "/classic/settings/system",
        classic_settings.add_classic_system_setting,
        access=admin,
        scope=ADMINISTER_SETTINGS,
        status=201,
        errors=(SettingExists, TooManySettings),
    ),
    Operation(
        "GET",
        CLASSIC_SYSTEM,
        classic_settings.show_classic_system_setting,
        access=admin,
        scope=ADMINISTER_SETTINGS,
    ),
    Operation(
        "PUT",
        CLASSIC_SYSTEM,
        classic_settings.put_classic_system_setting,
        access=admin,
        scope=ADMINISTER_SETTINGS,
        errors=(TooManySettings,),
    ),
    Operation(
        "DELETE",
        CLASSIC_SYSTEM,
        classic_settings.delete_classic_system_setting,
        access=admin,
        scope=ADMINISTER_SETTINGS,
    ),
    Operation(
        "GET", "/classic/settings/user", classic_settings.list_own_classic_settings, scope=READ_SETTINGS
    ),
    Operation("GET", CLASSIC_OWN, classic_settings.show_own_classic_setting, scope=READ_SETTINGS),
    Operation(
        "PUT",
        CLASSIC_OWN,
        classic_settings.put_own_classic_setting,
        scope=WRITE_SETTINGS,
        prepare=find_caller,
        errors=(TooManySettings, ProfileDeleted, Unavailable),
    ),
    Operation("DELETE", CLASSIC_OWN, classic_settings.delete_own_classic_setting, scope=WRITE_SETTINGS),
]
READ_TEAM, WRITE_TEAM, ADMINISTER_TEAM = "team:read", "team:write", "admin:team"
TEAM_CACHED_SECONDS = 60
TEAM = [
    Operation(
        "GET",
        "/team",
        team.list_team,
        access=public,
        scope=READ_TEAM,
        public_seconds=TEAM_CACHED_SECONDS,
    ),
    Operation(
        "GET",
        "/team/departments",
        team.list_departments,
        access=public,
        scope=READ_TEAM,
        public_seconds=TEAM_CACHED_SECONDS,
    ),
    Operation("GET", "/team/me", team.show_own_member, scope=READ_TEAM, errors=(NotFound,)),
    Operation(
        "PUT",
        "/team/me",
        team.put_own_member,
        scope=WRITE_TEAM,
        prepare=find_caller,
        errors=(NotFound, ProfileDeleted, Unavailable),
    ),
    Operation("DELETE", "/team/me", team.delete_own_member, scope=WRITE_TEAM, status=204, errors=(NotFound,)),
    Operation(
        "GET",
        "/team/{user_id}",
        team.show_member,
        access=public,
        scope=READ_TEAM,
        public_seconds=TEAM_CACHED_SECONDS,
    ),
    Operation(
        "PUT",
        "/team/{user_id}",
        team.put_member,
        access=admin,
        scope=ADMINISTER_TEAM,
        prepare=team.find_person,
        errors=(ProfileDeleted, Unavailable),
    ),
    Operation(
        "DELETE", "/team/{user_id}", team.delete_member, access=admin, scope=ADMINISTER_TEAM, status=204
    ),
]
DASHBOARD = [
    Operation("GET", "/dashboard/summary", dashboard.show_dashboard_summary, scope="dashboard:read"),
]
STATUS = [
    Operation("GET", "/classic/health", status.show_classic_health, access=public, recorded=False),
    Operation(
        "GET",
        "/classic/status",
        status.show_classic_status,
        access=public,
        also={503: "application/json"},
    ),
]
OPERATIONS = [*USERS, *CLASSIC_USERS, *SETTINGS, *CLASSIC_SETTINGS, *TEAM, *DASHBOARD, *STATUS]
