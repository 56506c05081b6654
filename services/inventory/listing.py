"""Lists of WorkSpaces: one filter selects the index to walk, the others are checked row by row."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, and_, func, or_, select
from sqlmodel import Session

from services.inventory import accounts
from services.inventory.models import DIRECTORIES, GONE, PRESENT, SEARCH, TAGS, WORKSPACES
from services.inventory.schemas import NamedOut, OptionsOut, WorkspaceFilters, WorkspaceOut
from shared.clock import now
from shared.http.schemas import Page
from shared.lists.named import page_of_named
from shared.lists.pagination import PageQuery, Walk, paginate
from shared.lists.search import Search, find_page, searchable

# By filter name, most selective first.
COLUMNS: Mapping[str, Column[Any]] = {
    "user_name": WORKSPACES.c.user_name,
    "directory": WORKSPACES.c.directory_id,
    "bundle": WORKSPACES.c.bundle_id,
    "account": WORKSPACES.c.account,
    "region": WORKSPACES.c.region,
    "state": WORKSPACES.c.state,
    "running_mode": WORKSPACES.c.running_mode,
}
OPTIONS_MAX = 200


def find(session: Session, query: WorkspaceFilters, page: PageQuery) -> Page[WorkspaceOut]:
    """Return one page, newest first."""
    given = {name: value for name in COLUMNS if (value := getattr(query, name)) is not None}
    presence = GONE if query.gone else PRESENT
    checked = [] if query.unused_days is None else [_unused(query.unused_days)]
    if query.search is not None:
        checked += [COLUMNS[name] == value for name, value in given.items()]
        checked += [] if query.tag is None else [_has_tag(query.tag)]
        return _search(session, {"presence": presence}, searchable(query.search), checked, page)
    checked += [WORKSPACES.c.presence == presence] if given or query.tag else []
    if query.tag is not None:
        checked += [COLUMNS[name] == value for name, value in given.items()]
        tagged = Walk(select(TAGS.c.id).where(*_is_tag(query.tag)), TAGS.c.id)
        return page_of_named(session, tagged, WORKSPACES, page, WorkspaceOut.of, checked)
    if given:
        first = next(iter(given))
        column, value = COLUMNS[first], given.pop(first)
        walk = Walk(select(WORKSPACES).where(column == value), WORKSPACES.c.id)
    else:
        walk = Walk(select(WORKSPACES).where(WORKSPACES.c.presence == presence), WORKSPACES.c.id)
    checked += [COLUMNS[name] == value for name, value in given.items()]
    return paginate(session, [walk], walk.key, page, WorkspaceOut.of, checked=checked)


def _search(
    session: Session,
    scope: Mapping[str, str],
    text: str,
    checked: Sequence[ColumnElement[bool]],
    page: PageQuery,
) -> Page[WorkspaceOut]:
    search = Search([scope], {"search": text}, checked)
    if checked and session.get_bind().dialect.name == "postgresql":
        # With a selective filter PostgreSQL would check every row that contains a common text before sorting.
        walk = SEARCH.walk(scope, search)
        return paginate(session, [walk], walk.key, page, WorkspaceOut.of, checked=SEARCH.conditions(search))
    return find_page(session, SEARCH, search, page, WorkspaceOut.of)


def _is_tag(tag: str) -> list[ColumnElement[bool]]:
    key, _, value = tag.partition(":")
    return [TAGS.c.key == key, TAGS.c.value == value]


def _has_tag(tag: str) -> ColumnElement[bool]:
    return select(TAGS.c.id).where(TAGS.c.id == WORKSPACES.c.id, *_is_tag(tag)).exists()


def _unused(days: int) -> ColumnElement[bool]:
    """Match WorkSpaces without a connection for `days`; those never connected to count from `first_seen`."""
    since, columns = now() - timedelta(days=days), WORKSPACES.c
    never = and_(columns.last_connection.is_(None), columns.connection_state.is_not(None))
    return or_(columns.last_connection < since, and_(never, columns.first_seen < since))


def options(session: Session) -> OptionsOut:
    """List the values that each filter may have."""
    directories = select(DIRECTORIES.c.directory_id, DIRECTORIES.c.name).distinct().limit(OPTIONS_MAX)
    named = {row[0]: row[1] for row in session.connection().execute(directories)}
    ids = [*dict.fromkeys([*values(session, WORKSPACES.c.directory_id), *named])]
    return OptionsOut(
        states=values(session, WORKSPACES.c.state),
        running_modes=values(session, WORKSPACES.c.running_mode),
        bundles=values(session, WORKSPACES.c.bundle_id),
        directories=[NamedOut(id=one, name=named.get(one)) for one in sorted(ids)[:OPTIONS_MAX]],
        regions=values(session, WORKSPACES.c.region),
        accounts=[NamedOut(id=one["id"], name=one["name"]) for one in accounts.live(session)][:OPTIONS_MAX],
        tag_keys=values(session, TAGS.c.key),
    )


def values(session: Session, column: Column[str]) -> list[str]:
    """List the distinct values of a column with one index lookup each, because there are few."""
    execute, found = session.connection().execute, list[str]()
    while len(found) < OPTIONS_MAX:
        least = select(func.min(column))
        if found:
            least = least.where(column > found[-1])
        value = execute(least).scalar()
        if value is None:
            break
        found.append(value)
    return found
