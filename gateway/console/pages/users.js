// @ts-check
// Accounts, for admins: search first, then one account in the drawer.

import { withQuery } from "../core/api.js";
import { nameOf, words } from "../core/format.js";
import { useList } from "../core/list.js";
import { hrefWith, place } from "../core/router.js";
import { html } from "../core/view.js";
import { PickLink, usePicks } from "../parts/pick.js";
import { Search } from "../parts/search.js";
import { Chip, FilterMenu, NothingMatches, Table } from "../parts/table.js";
import { Ago, Empty, later, Page, State } from "../parts/ui.js";

const UserDrawer = later(() => import("./user_drawer.js"), "UserDrawer");
const UsersBulk = later(() => import("./users_bulk.js"), "UsersBulk");
const ROLES = ["user", "admin"], STATES = ["active", "suspended", "disabled", "deleted"];

export default function Users() {
  const { query } = place.value;
  const list = useList(withQuery("/users", { q: query.q, role: query.role, status: query.status }));
  const picks = usePicks(list, nameOf);
  return html`<${Page} title="Users">
      <div class="stack mid"><${Filters} query=${query} picks=${picks} />
        ${picks.isOn && html`<${UsersBulk} picks=${picks} list=${list} />`}
        <${Table} caption="Accounts, newest first" columns=${picks.into(COLUMNS)} list=${list} noun="account" empty=${nothing(query)} /></div>
    <//>
    ${query.open && html`<${UserDrawer} key=${query.open} id=${query.open} list=${list} />`}`;
}

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { head: "Name", class: "c1 cut", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.id })}>${nameOf(row)}</a>` },
  { head: "E-mail", class: "c3 cut muted", cell: (row) => row.email },
  { head: "Role", class: "opt", cell: (row) => (row.role === "admin" ? html`<span class="badge info">Admin</span>` : html`<span class="muted">${words(row.role)}</span>`) },
  { head: "State", class: "c4", cell: (row) => (row.status === "active" ? html`<span class="muted">Active</span>` : html`<${State} of=${row.status} />`) },
  { head: "Age", class: "num muted nowrap c2", cell: (row) => html`<${Ago} at=${row.created} />` },
];

/** @param {{query: Record<string, string>, picks: import("../parts/pick.js").Picks}} props */
const Filters = ({ query, picks }) => html`<div class="toolbar"><${Search} label="Search accounts" placeholder="E-mail, username or name" />
    ${query.role && html`<${Chip} name="Role" value=${words(query.role)} without=${hrefWith({ role: "", open: "" })} />`}
    ${query.status && html`<${Chip} name="State" value=${words(query.status)} without=${hrefWith({ status: "", open: "" })} />`}
    <${FilterMenu} id="filter-role" label="Role" options=${ROLES.map((one) => ({ word: words(one), href: hrefWith({ role: one, open: "" }) }))} />
    <${FilterMenu} id="filter-status" label="State" options=${STATES.map((one) => ({ word: words(one), href: hrefWith({ status: one, open: "" }) }))} />
    <${PickLink} picks=${picks} />
</div>`;

/** @param {Record<string, string>} query */
function nothing(query) {
  const filters = [query.q && `“${query.q}” in it`, query.role && `the role ${query.role}`, query.status && `the state ${query.status}`].filter(Boolean).join(" and ");
  return filters ? html`<${NothingMatches} noun="accounts" filters=${filters} clear=${hrefWith({ q: "", role: "", status: "", open: "" })} />`
    : html`<${Empty} icon="users" title="No accounts"><p>Accounts appear here as soon as people register.</p><//>`;
}
