// @ts-check
// The audit explorer: who did what to which thing, from where, and with which outcome.

import { withQuery } from "../core/api.js";
import { isAdmin, me } from "../core/app_state.js";
import { shortened, words } from "../core/format.js";
import { addCommands } from "../core/keys.js";
import { useList } from "../core/list.js";
import { go, hrefWith, place } from "../core/router.js";
import { html, useEffect, useMemo, useState } from "../core/view.js";
import { Chip, FilterMenu, NothingMatches, Table } from "../parts/table.js";
import { Ago, Empty, Icon, later, Page, State } from "../parts/ui.js";

const AuditDrawer = later(() => import("./audit_drawer.js"), "AuditDrawer");
const SPANS = /** @type {Record<string, [string, number]>} */ ({ hour: ["last hour", 3_600], day: ["last 24 hours", 86_400], week: ["last 7 days", 604_800], month: ["last 30 days", 2_592_000] });
const NONE = { action: "", outcome: "", since: "", user: "", resource: "", open: "" };

export default function Audit() {
  const { query } = place.value;
  const since = SPANS[query.since];
  const from = useMemo(() => since && new Date(Date.now() - since[1] * 1000).toISOString(), [query.since]);
  // Reading the log is recorded as well. An automatic refresh would always find its own record, so this list is refreshed by hand.
  const list = useList(withQuery("/audit/logs", { action: query.action, outcome: query.outcome, user_id: query.user, resource: query.resource, from }), { refreshes: false });
  useEffect(() => addCommands([{ id: "refresh", label: "Refresh this list", keys: "r", group: "Here", icon: "refresh", run: () => { list.load(); } }]), [list]);
  const lead = isAdmin.value ? "Every action of every account, in a log that nobody can change unnoticed." : "Everything that was done with your account.";
  const actions = html`<a class="btn" href="/audit/verifier" download><${Icon} name="download" />Verifier</a>
    <button class="btn" type="button" aria-busy=${String(list.isLoading.value)} onClick=${() => list.load()}><${Icon} name="refresh" />Refresh</button>`;
  return html`<${Page} title="Audit" lead=${lead} actions=${actions}>
      <div class="stack mid"><${Filters} query=${query} />
        <${Table} caption="Records, newest first" columns=${COLUMNS} list=${list} noun="record" empty=${nothing(query)} /></div>
    <//>
    ${query.open && html`<${AuditDrawer} key=${query.open} id=${query.open} list=${list} />`}`;
}

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { head: "Action", class: "c1 nowrap", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.id })}>${words(row.action)}</a>` },
  { head: "Service", class: "muted opt", cell: (row) => row.service },
  { head: "By", class: "c3 nowrap", cell: (row) => html`<${Actor} row=${row} />` },
  { head: "Outcome", class: "c4", cell: (row) => (row.outcome === "success" ? html`<span class="muted">Success</span>` : html`<${State} of="refused" word=${`Refused, ${row.status}`} />`) },
  { head: "From", class: "mono muted opt", cell: (row) => row.ip ?? "–" },
  { head: "Age", class: "num muted nowrap c2", cell: (row) => html`<${Ago} at=${row.timestamp} />` },
];

/** @param {{row: any}} props */
function Actor({ row }) {
  if (row.user_id && row.user_id === me.value?.id) return html`You`;
  if (!row.user_id) return html`<span class="muted">${row.actor || "Nobody"}</span>`;
  return html`<span class="mono muted" title=${row.user_id}>${shortened(row.user_id)}</span>`;
}

/** @param {{query: Record<string, string>}} props */
function Filters({ query }) {
  const [typed, setTyped] = useState(query.action ?? "");
  useEffect(() => { setTyped(query.action ?? ""); }, [query.action]);
  /** @param {SubmitEvent} event */
  const onSubmit = (event) => {
    event.preventDefault();
    go(hrefWith({ action: typed.trim().toUpperCase().replaceAll(/[\s-]+/g, "_"), open: "" }));
  };
  return html`<div class="toolbar">
    <form class="search" role="search" onSubmit=${onSubmit}><${Icon} name="search" /><input class="input" type="search" aria-label="Action" placeholder="Action, such as Place order" maxlength="100" value=${typed}
      onInput=${(/** @type {any} */ event) => setTyped(event.currentTarget.value)} /></form>
    ${query.action && html`<${Chip} name="Action" value=${words(query.action)} without=${hrefWith({ action: "", open: "" })} />`}
    ${query.outcome && html`<${Chip} name="Outcome" value=${words(query.outcome)} without=${hrefWith({ outcome: "", open: "" })} />`}
    ${SPANS[query.since] && html`<${Chip} name="Time" value=${SPANS[query.since][0]} without=${hrefWith({ since: "", open: "" })} />`}
    ${query.user && html`<${Chip} name="By" value=${shortened(query.user)} without=${hrefWith({ user: "", open: "" })} />`}
    ${query.resource && html`<${Chip} name="Thing" value=${shortened(query.resource)} without=${hrefWith({ resource: "", open: "" })} />`}
    <${FilterMenu} id="filter-outcome" label="Outcome" options=${["success", "refused"].map((one) => ({ word: words(one), href: hrefWith({ outcome: one, open: "" }) }))} />
    <${FilterMenu} id="filter-since" label="Time" options=${Object.entries(SPANS).map(([one, [word]]) => ({ word: words(word), href: hrefWith({ since: one, open: "" }) }))} />
  </div>`;
}

/** @param {Record<string, string>} query */
function nothing(query) {
  const filters = [query.action && `the action ${words(query.action).toLowerCase()}`, query.outcome && `the outcome ${query.outcome}`, query.since && `a time in the ${SPANS[query.since]?.[0]}`,
    query.user && "this account", query.resource && "this thing"].filter(Boolean).join(" and ");
  return filters ? html`<${NothingMatches} noun="records" filters=${filters} clear=${hrefWith(NONE)} />`
    : html`<${Empty} icon="audit" title="No records yet"><p>Whatever is done with your account is recorded here within seconds.</p><//>`;
}
