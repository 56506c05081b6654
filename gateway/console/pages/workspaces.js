// @ts-check
// WorkSpaces: ask a question, see what they cost and what could be saved, and look at each machine.

import { withQuery } from "../core/api.js";
import { words } from "../core/format.js";
import { useList, useThing } from "../core/list.js";
import { hrefWith, place } from "../core/router.js";
import { computed, html, useEffect, useMemo, useState } from "../core/view.js";
import { Search } from "../parts/search.js";
import { Chip, FilterMenu, NothingMatches, Table } from "../parts/table.js";
import { Ago, Empty, Icon, later, Page, State } from "../parts/ui.js";

const Drawer = later(() => import("./workspace_drawer.js"), "WorkspaceDrawer"), Ask = later(() => import("./workspaces_ask.js"), "Ask");
const Cost = later(() => import("./workspaces_cost.js"), "Cost"), Savings = later(() => import("./workspaces_cost.js"), "Savings");
const Sync = later(() => import("./workspaces_sync.js"), "Sync"), Advice = later(() => import("./workspaces_advice.js"), "Advice");
const UNUSED_DAYS = 30, NONE = { q: "", state: "", mode: "", bundle: "", unused: "", gone: "", open: "" };
const MODES = /** @type {Record<string, string>} */ ({ ALWAYS_ON: "Always on", AUTO_STOP: "By the hour", MANUAL: "By hand" });

/** @param {string | null} mode */
export const modeWord = (mode) => (mode ? MODES[mode] ?? words(mode) : "–");

export default function Workspaces() {
  const { query } = place.value, isAdvice = query.tab === "savings";
  const summary = useThing("/dashboard");
  const [rows, setRows] = useState(/** @type {any[] | null} */ (null)); // the rows that the drawer steps through
  return html`<${Page} title="WorkSpaces" lead=${summary.data.value?.is_demo && "These machines are invented, so that you can try this page."} actions=${html`<a class="btn" href="/workspaces/export?format=csv" download><${Icon} name="download" />Export</a><${Sync} onDone=${() => summary.load()} />`}>
      <${Ask} />
      <div class="cols main-aside"><${Cost} /><${Savings} /></div>
      <nav class="tabs" aria-label="WorkSpaces"><a href=${hrefWith({ tab: "", kind: "", open: "" })} aria-current=${isAdvice ? undefined : "page"}>Machines</a>
        <a href=${hrefWith({ ...NONE, tab: "savings" })} aria-current=${isAdvice ? "page" : undefined}>Savings</a></nav>
      ${isAdvice ? html`<${Advice} />` : html`<${Machines} query=${query} onRows=${setRows} />`}
    <//>
    ${query.open && html`<${Drawer} key=${query.open} id=${query.open} rows=${isAdvice ? null : rows} adviceState=${isAdvice && query.state ? query.state : "open"} />`}`;
}

/** @param {{query: Record<string, string>, onRows: (rows: any[] | null) => void}} props */
function Machines({ query, onRows }) {
  const list = useList(withQuery("/workspaces", { search: query.q, state: query.state, running_mode: query.mode, bundle: query.bundle, unused_days: query.unused && UNUSED_DAYS, gone: query.gone && "true" }));
  // People name a machine by its WorkSpace id, so the address does as well.
  const shown = useMemo(() => ({
    ...list, rows: computed(() => list.rows.value?.map((row) => ({ ...row, id: row.workspace_id })) ?? null),
    load: () => list.load(), more: () => list.more(), showFresh: () => list.showFresh(),
  }), [list]);
  const rows = shown.rows.value;
  useEffect(() => onRows(rows), [rows]);
  return html`<div class="stack mid"><${Filters} query=${query} />
    <${Table} caption="Machines, newest first" columns=${COLUMNS} list=${shown} noun="machine" empty=${nothing(query)} /></div>`;
}

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { head: "Person", class: "c1 cut", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.id })}>${row.user_name ?? row.id}</a>` },
  { head: "Machine", class: "c3 mono muted nowrap", cell: (row) => row.id },
  { head: "Bundle", class: "cut opt", cell: (row) => row.bundle_name ?? row.bundle_id ?? "–" },
  { head: "Mode", class: "nowrap opt2", cell: (row) => modeWord(row.running_mode) },
  { head: "State", class: "c2 nowrap", cell: (row) => html`<${MachineState} of=${row.state} gone=${row.gone} />` },
  { head: "Last used", class: "num muted nowrap c4", cell: (row) => (row.last_connection ? html`<${Ago} at=${row.last_connection} />` : "Never") },
];

/** Running and stopped machines are healthy; other states deserve attention. @param {{of: string, gone?: string | null}} props */
export function MachineState({ of, gone }) {
  if (gone) return html`<${State} of="deleted" word="Gone" />`;
  if (of === "AVAILABLE") return html`<span>Running</span>`;
  if (of === "STOPPED") return html`<span class="muted">Stopped</span>`;
  return html`<${State} of=${["ERROR", "UNHEALTHY", "IMPAIRED"].includes(of) ? "unreachable" : "waiting"} word=${words(of)} />`;
}

/** @param {{query: Record<string, string>}} props */
function Filters({ query }) {
  const options = useThing("/workspaces/filters/options").data.value;
  /** @param {string} name @param {string} label @param {string[] | undefined} values @param {(value: string) => string} word */
  const menu = (name, label, values, word) => values?.length ? html`<${FilterMenu} id=${`filter-${name}`} label=${label} options=${values.map((one) => ({ word: word(one), href: hrefWith({ [name]: one, open: "" }) }))} />` : null;
  return html`<div class="toolbar"><${Search} label="Search machines" placeholder="Person, machine or address" />
    ${query.state && html`<${Chip} name="State" value=${words(query.state)} without=${hrefWith({ state: "", open: "" })} />`}
    ${query.mode && html`<${Chip} name="Mode" value=${modeWord(query.mode)} without=${hrefWith({ mode: "", open: "" })} />`}
    ${query.bundle && html`<${Chip} name="Bundle" value=${query.bundle} without=${hrefWith({ bundle: "", open: "" })} />`}
    ${query.unused && html`<${Chip} name="Unused" value=${`${UNUSED_DAYS} days`} without=${hrefWith({ unused: "", open: "" })} />`}
    ${query.gone && html`<${Chip} name="Gone" value="only" without=${hrefWith({ gone: "", open: "" })} />`}
    ${menu("state", "State", options?.states, words)}${menu("mode", "Mode", options?.running_modes, modeWord)}${menu("bundle", "Bundle", options?.bundles, (one) => one)}
    ${!query.unused && html`<a class="chip add" href=${hrefWith({ unused: "yes", open: "" })}><${Icon} name="plus" />Unused</a>`}
    ${!query.gone && html`<a class="chip add" href=${hrefWith({ gone: "yes", open: "" })}><${Icon} name="plus" />Gone</a>`}
  </div>`;
}

/** @param {Record<string, string>} query */
function nothing(query) {
  const filters = [query.q && `“${query.q}” in it`, query.state && `the state ${words(query.state).toLowerCase()}`, query.mode && `the mode ${modeWord(query.mode).toLowerCase()}`, query.bundle && `the bundle ${query.bundle}`,
    query.unused && `been unused for ${UNUSED_DAYS} days`, query.gone && "gone"].filter(Boolean).join(" and ");
  return filters ? html`<${NothingMatches} noun="machines" filters=${filters} clear=${hrefWith(NONE)} />`
    : html`<${Empty} icon="system" title="No machines yet"><p>Machines appear after the first sync of an AWS account. <code>INVENTORY_DEMO=on</code> invents some.</p><//>`;
}
