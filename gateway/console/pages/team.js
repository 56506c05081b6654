// @ts-check
// The team directory, as far as each person may see it, and one's own entry in it.

import { withQuery } from "../core/api.js";
import { isAdmin, me } from "../core/app_state.js";
import { useList, useThing } from "../core/list.js";
import { hrefWith, place } from "../core/router.js";
import { html } from "../core/view.js";
import { Search } from "../parts/search.js";
import { Chip, FilterMenu, NothingMatches, Table } from "../parts/table.js";
import { Empty, Icon, later, Page, State } from "../parts/ui.js";

const TeamDrawer = later(() => import("./team_drawer.js"), "TeamDrawer");
export const VISIBILITY = /** @type {Record<string, string>} */ ({ public: "Everybody", internal: "People with an account", private: "You and admins" });

export default function Team() {
  const { query } = place.value;
  const list = useList(withQuery("/team", { search: query.q, department: query.department, skill: query.skill }), { shape: (row) => ({ ...row, id: row.user_id }) });
  const own = html`<a class="btn" href=${hrefWith({ open: me.value?.id })}><${Icon} name="user" />Your entry</a>`;
  return html`<${Page} title="Team" lead="Who works here, and on what. Each person decides who sees what." actions=${own}>
      <div class="stack mid"><${Filters} query=${query} />
        <${Table} caption="Team members, those added last first" columns=${columns()} list=${list} noun="member" empty=${nothing(query)} /></div>
    <//>
    ${query.open && html`<${TeamDrawer} key=${query.open} id=${query.open} list=${list} />`}`;
}

/** @returns {import("../parts/table.js").Column[]} */
const columns = () => [
  { head: "Name", class: "c1 nowrap", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.id })}>${row.name || "Without a name"}</a>` },
  { head: "Position", class: "c3 cut", cell: (row) => row.position || "–" },
  { head: "Department", class: "c2 nowrap", cell: (row) => row.department || "–" },
  { head: "Skills", class: "cut muted opt", title: (row) => row.skills.join(", "), cell: (row) => row.skills.join(", ") || "–" },
  ...(isAdmin.value ? [{ head: "Seen by", class: "opt2 nowrap", cell: (/** @type {any} */ row) => (row.is_active ? html`<span class="muted">${row.visibility === "private" ? "Admins only" : VISIBILITY[row.visibility]}</span>` : html`<${State} of="hidden" word="Not active" />`) }] : []),
];

/** @param {{query: Record<string, string>}} props */
function Filters({ query }) {
  const departments = useThing("/team/departments").data.value ?? [];
  return html`<div class="toolbar"><${Search} label="Search the team" placeholder="Name, skill or anything else" />
    ${query.department && html`<${Chip} name="Department" value=${query.department} without=${hrefWith({ department: "", open: "" })} />`}
    ${query.skill && html`<${Chip} name="Skill" value=${query.skill} without=${hrefWith({ skill: "", open: "" })} />`}
    ${departments.length > 0 && html`<${FilterMenu} id="filter-department" label="Department" options=${departments.map((/** @type {any} */ one) => ({ word: `${one.department} (${one.members})`, href: hrefWith({ department: one.department, open: "" }) }))} />`}
  </div>`;
}

/** @param {Record<string, string>} query */
function nothing(query) {
  const filters = [query.q && `“${query.q}” in it`, query.department && `the department ${query.department}`, query.skill && `the skill ${query.skill}`].filter(Boolean).join(" and ");
  return filters ? html`<${NothingMatches} noun="members" filters=${filters} clear=${hrefWith({ q: "", department: "", skill: "", open: "" })} />`
    : html`<${Empty} icon="team" title="Nobody is in the directory yet"><p>An entry has a position, skills and links. Others see yours once an admin has made it active.</p>
      <div class="btns"><a class="btn" href=${hrefWith({ open: me.value?.id })}>Write your entry</a></div><//>`;
}
