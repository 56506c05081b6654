"""Every endpoint of the inventory service."""

from collections.abc import Callable
from typing import Any

from contracts.summaries import summary_operation
from services.inventory import summary
from services.inventory.errors import (
    AccountRefused,
    AdviceState,
    AwsAway,
    ChangesOff,
    ChangeState,
    DryRunFirst,
    NameTaken,
    NothingToSync,
    OwnChange,
    QuestionNotUnderstood,
    ServerRefused,
    SetByOperator,
    SyncNeedsAdmin,
    SyncRunning,
)
from services.inventory.exporting import ANSWER_TYPES
from services.inventory.handlers import (
    accounts,
    advice,
    ask,
    billing,
    changes,
    classic,
    classic_accounts,
    classic_admin,
    ldap,
    reports,
    sync,
    trail,
    usage,
    workspaces,
)
from shared.data.database import TookTooLong
from shared.errors import Impersonated, NotFound, Overloaded, TooManyRequests
from shared.http.operations import Operation
from shared.identity.step_up import RECENT
from shared.identity.tokens import admin
from shared.reports.operations import report_operations

READ, WRITE, ADMINISTER = "inventory:read", "inventory:write", "admin:inventory"
CLASSIC = "/classic"
_CLASSIC_ACCOUNTS = f"{CLASSIC}/admin/aws-accounts"
_CLASSIC_ACCOUNT = f"{_CLASSIC_ACCOUNTS}/{{account_id}}"
_CLASSIC_SERVERS = f"{CLASSIC}/admin/ldap-servers"
_CLASSIC_SERVER = f"{_CLASSIC_SERVERS}/{{server_id}}"
_SETTINGS = f"{CLASSIC}/admin/settings"
_CHANGES = "/admin/changes"
_SERVERS = "/admin/ldap-servers"
_SERVER = "/admin/ldap-servers/{server_id}"
_ACCOUNTS = "/admin/aws-accounts"
_ACCOUNT = "/admin/aws-accounts/{account_id}"


def _admin(method: str, path: str, handler: Callable[..., Any], **options: Any) -> Operation:
    return Operation(method, path, handler, access=admin, scope=ADMINISTER, **options)


OPERATIONS = [
    summary_operation(summary.rows_of),
    Operation("GET", "/dashboard", workspaces.show_dashboard, scope=READ),
    Operation("GET", "/workspaces", workspaces.list_workspaces, scope=READ),
    Operation(
        "GET", "/workspaces/export", workspaces.export_workspaces, scope=READ, answer_types=ANSWER_TYPES
    ),
    Operation("GET", "/workspaces/filters/options", workspaces.show_filter_options, scope=READ),
    Operation("GET", "/workspaces/{workspace_id}", workspaces.show_workspace, scope=READ),
    Operation("GET", "/workspaces/{workspace_id}/changes", workspaces.list_workspace_changes, scope=READ),
    Operation("GET", "/workspaces/{workspace_id}/history", workspaces.list_workspace_history, scope=READ),
    Operation("GET", "/workspaces/{workspace_id}/metrics", workspaces.show_workspace_metrics, scope=READ),
    Operation("GET", "/usage", usage.list_usage, scope=READ),
    Operation("GET", "/usage/summary", usage.sum_usage, scope=READ),
    Operation("GET", "/usage/export", usage.export_usage, scope=READ, answer_types=ANSWER_TYPES),
    Operation("GET", "/billing", billing.list_costs, scope=READ),
    Operation("GET", "/billing/summary", billing.sum_costs, scope=READ),
    Operation("GET", "/billing/export", billing.export_costs, scope=READ, answer_types=ANSWER_TYPES),
    Operation("GET", "/advice", advice.list_advice, scope=READ),
    Operation("GET", "/advice/summary", advice.sum_advice, scope=READ),
    Operation("GET", "/advice/backtest", advice.backtest_advice, scope=READ),
    _admin(
        "PUT",
        "/advice/{advice_id}",
        advice.decide_advice,
        errors=(NotFound, AdviceState),
    ),
    Operation("GET", "/cloudtrail", trail.list_events, scope=READ),
    Operation("GET", "/cloudtrail/export", trail.export_events, scope=READ, answer_types=ANSWER_TYPES),
    Operation("GET", "/cloudtrail/{event}", trail.show_event, scope=READ),
    Operation(
        "POST",
        "/sync/trigger",
        sync.trigger_sync,
        scope=WRITE,
        status=202,
        location="/sync/{id}",
        idempotent=True,
        errors=(SyncNeedsAdmin, SyncRunning, NothingToSync, TooManyRequests),
    ),
    Operation("GET", "/sync/history", sync.list_syncs, scope=READ),
    Operation("GET", "/sync/{sync_id}", sync.show_sync, scope=READ),
    Operation(
        "DELETE", "/sync/{sync_id}", sync.cancel_sync, scope=WRITE, status=202, errors=(SyncNeedsAdmin,)
    ),
    Operation(
        "GET",
        "/sync/{sync_id}/events",
        sync.follow_sync,
        scope=READ,
        answer_types=("text/event-stream",),
        errors=(TooManyRequests, Overloaded),
    ),
    Operation("POST", "/ai/query", ask.ask_question, scope=READ, errors=(QuestionNotUnderstood, TookTooLong)),
    Operation("POST", "/ai/run", ask.run_question, scope=READ, errors=(TookTooLong,)),
    Operation("GET", "/ai/health", ask.show_ask_health, scope=READ),
    Operation("GET", "/ai/examples", ask.show_examples, scope=READ),
    _admin("GET", _ACCOUNTS, accounts.list_accounts),
    _admin(
        "POST",
        _ACCOUNTS,
        accounts.add_account,
        status=201,
        location="/admin/aws-accounts/{id}",
        idempotent=True,
        errors=(NameTaken,),
    ),
    _admin("GET", _ACCOUNT, accounts.show_account, errors=(NotFound,)),
    _admin("PUT", _ACCOUNT, accounts.change_account, errors=(NotFound, NameTaken)),
    _admin(
        "DELETE",
        _ACCOUNT,
        accounts.delete_account,
        status=204,
        errors=(NotFound,),
    ),
    _admin(
        "POST",
        f"{_ACCOUNT}/test",
        accounts.test_account,
        errors=(NotFound, AwsAway),
    ),
]

OPERATIONS += [
    _admin("GET", _CHANGES, changes.list_aws_changes),
    _admin(
        "POST",
        _CHANGES,
        changes.ask_aws_change,
        status=201,
        errors=(NotFound, ChangesOff, DryRunFirst, Impersonated),
    ),
    _admin(
        "PUT",
        f"{_CHANGES}/{{change_id}}",
        changes.decide_aws_change,
        step_up=RECENT,
        errors=(NotFound, ChangesOff, OwnChange, ChangeState, Impersonated, TooManyRequests),
    ),
]

OPERATIONS += [
    _admin("GET", _SERVERS, ldap.list_ldap_servers),
    _admin(
        "POST",
        _SERVERS,
        ldap.add_ldap_server,
        status=201,
        location="/admin/ldap-servers/{id}",
        errors=(NameTaken,),
    ),
    _admin("GET", _SERVER, ldap.show_ldap_server, errors=(NotFound,)),
    _admin(
        "PUT",
        _SERVER,
        ldap.change_ldap_server,
        errors=(NotFound, NameTaken),
    ),
    _admin(
        "DELETE",
        _SERVER,
        ldap.delete_ldap_server,
        status=204,
        errors=(NotFound,),
    ),
    _admin("POST", f"{_SERVER}/test", ldap.test_ldap_server, errors=(NotFound,)),
    _admin(
        "POST",
        f"{_SERVER}/sync",
        ldap.sync_ldap_server,
        status=202,
        errors=(NotFound, TooManyRequests),
    ),
]

OPERATIONS += report_operations(
    "/reports/inventory",
    reports.start_inventory_report,
    access=admin,
    scopes=(ADMINISTER, ADMINISTER),
    jobs_scope="inventory",
)


def _classic(path: str, handler: Callable[..., Any], *, is_file: bool = False) -> Operation:
    types = ANSWER_TYPES if is_file else ()
    return Operation("GET", f"{CLASSIC}{path}", handler, scope=READ, answer_types=types)


OPERATIONS += [
    _classic("/dashboard", classic.classic_dashboard),
    _classic("/workspaces", classic.classic_workspaces),
    _classic("/workspaces/export", classic.classic_export_workspaces, is_file=True),
    _classic("/workspaces/filters/options", classic.classic_options),
    _classic("/workspaces/{workspace_id}", classic.classic_workspace),
    _classic("/workspaces/{workspace_id}/metrics", classic.classic_metrics),
    _classic("/usage", classic.classic_usage),
    _classic("/usage/summary", classic.classic_usage_summary),
    _classic("/usage/export", classic.classic_export_usage, is_file=True),
    _classic("/billing", classic.classic_costs),
    _classic("/billing/export", classic.classic_export_costs, is_file=True),
    _classic("/cloudtrail", classic.classic_events),
    _classic("/cloudtrail/export", classic.classic_export_events, is_file=True),
    _classic("/cloudtrail/{event}", classic.classic_event),
    _classic("/sync/history", classic.classic_syncs),
    _classic("/ai/health", classic.classic_ask_health),
    Operation(
        "POST",
        f"{CLASSIC}/sync/trigger",
        classic.classic_trigger_sync,
        scope=WRITE,
        status=202,
        errors=(SyncNeedsAdmin, SyncRunning, NothingToSync, TooManyRequests),
    ),
    Operation(
        "POST",
        f"{CLASSIC}/ai/query",
        classic.classic_ask,
        scope=READ,
        errors=(QuestionNotUnderstood, TookTooLong),
    ),
    _admin("GET", _CLASSIC_ACCOUNTS, classic_accounts.classic_accounts),
    _admin(
        "POST",
        _CLASSIC_ACCOUNTS,
        classic_accounts.classic_add_account,
        status=201,
        errors=(NameTaken,),
    ),
    _admin("GET", _CLASSIC_ACCOUNT, classic_accounts.classic_account),
    _admin(
        "PUT",
        _CLASSIC_ACCOUNT,
        classic_accounts.classic_change_account,
        errors=(NotFound, NameTaken),
    ),
    _admin(
        "DELETE",
        _CLASSIC_ACCOUNT,
        classic_accounts.classic_delete_account,
        errors=(NotFound,),
    ),
    _admin(
        "GET",
        f"{_CLASSIC_ACCOUNT}/test",
        classic_accounts.classic_test_account,
        errors=(NotFound, AccountRefused, AwsAway),
    ),
    _admin(
        "POST",
        f"{_CLASSIC_ACCOUNT}/sync",
        classic_accounts.classic_sync_account,
        status=202,
        errors=(NotFound, SyncRunning, NothingToSync, TooManyRequests),
    ),
]


OPERATIONS += [
    _admin("GET", _CLASSIC_SERVERS, classic_admin.classic_servers),
    _admin("POST", _CLASSIC_SERVERS, classic_admin.classic_add_server, status=201, errors=(NameTaken,)),
    _admin("GET", _CLASSIC_SERVER, classic_admin.classic_server, errors=(NotFound,)),
    _admin("PUT", _CLASSIC_SERVER, classic_admin.classic_change_server, errors=(NotFound, NameTaken)),
    _admin("DELETE", _CLASSIC_SERVER, classic_admin.classic_delete_server, errors=(NotFound,)),
    _admin(
        "GET", f"{_CLASSIC_SERVER}/test", classic_admin.classic_test_server, errors=(NotFound, ServerRefused)
    ),
    _admin(
        "POST",
        f"{_CLASSIC_SERVER}/sync",
        classic_admin.classic_sync_server,
        status=202,
        errors=(NotFound, TooManyRequests),
    ),
    _admin("GET", f"{CLASSIC}/admin/config", classic_admin.classic_config),
    _admin("GET", _SETTINGS, classic_admin.classic_settings),
    _admin("GET", f"{_SETTINGS}/{{key}}", classic_admin.classic_setting, errors=(NotFound,)),
    _admin("PUT", _SETTINGS, classic_admin.classic_set_settings, errors=(SetByOperator,)),
    _admin(
        "PUT", f"{_SETTINGS}/{{key}}", classic_admin.classic_set_setting, errors=(NotFound, SetByOperator)
    ),
]
