"""Moving and copying in a workspace; what is replaced goes to the trash."""

from services.terminal.errors import IntoItself
from services.terminal.workspace import walks
from services.terminal.workspace.paths import Parts
from services.terminal.workspace.trash import TrashCan
from services.terminal.workspace.tree import Entry, Tree
from services.terminal.workspace.walks import Budget
from services.terminal.workspace.workspaces import STAGING, Workspaces

Way = tuple[Parts, Parts]  # from where, to where


async def move(workspaces: Workspaces, trash: TrashCan, owner: str, way: Way, *, overwrite: bool) -> Entry:
    source, target = way
    await _clear(workspaces, trash, owner, way, overwrite=overwrite)
    async with workspaces.quota.room(owner, 0, len(target)):  # folders that are created on the way
        return await workspaces.run(owner, Tree.move, source, target)


async def copy(workspaces: Workspaces, trash: TrashCan, owner: str, way: Way, *, overwrite: bool) -> Entry:
    await workspaces.quota.usage(owner, fresh=True)
    left = workspaces.quota.left(owner)
    await _clear(workspaces, trash, owner, way, overwrite=overwrite)
    entry = await workspaces.run(owner, _copy, *way, Budget(left.bytes, left.entries))
    workspaces.quota.forget(owner)
    return entry


def _copy(tree: Tree, source: Parts, target: Parts, budget: Budget) -> Entry:
    with tree.in_area(STAGING) as staging:
        return tree.put_back(staging, walks.copy(tree, source, staging, budget), target)


async def _clear(workspaces: Workspaces, trash: TrashCan, owner: str, way: Way, *, overwrite: bool) -> None:
    """Move what is at the target to the trash, if there is a source to replace it."""
    source, target = way
    if target[: len(source)] == source or source[: len(target)] == target:
        raise IntoItself
    if overwrite:
        await workspaces.run(owner, Tree.entry, source)
        if await workspaces.run(owner, _is_there, target):
            await trash.put(owner, target)


def _is_there(tree: Tree, parts: Parts) -> bool:
    try:
        tree.entry(parts)
    except FileNotFoundError:
        return False
    return True
