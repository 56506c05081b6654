// @ts-check
// Targets, limits and latest errors of the gateway, as each worker sees them.

import { count, words } from "../core/format.js";
import { hrefWith, place } from "../core/router.js";
import { html } from "../core/view.js";
import { Chip, FilterMenu, NothingMatches, Table } from "../parts/table.js";
import { Ago, CopyId, Empty, State } from "../parts/ui.js";
import { useWhole } from "./gateway_rows.js";

const CODES_MAX = 8;

export function Targets() {
  const list = useWhole("/gateway/targets", (data) => data.map((/** @type {any} */ one) => ({ ...one, id: `${one.worker} ${one.url}` })).sort(worstFirst));
  return html`<${Table} caption="Targets; those that get no requests come first" columns=${TARGETS} list=${list} noun="target" empty=${html`<${Empty} icon="gateway" title="No targets"><p>The routes file names no target.</p><//>`} />`;
}

/** @param {any} a @param {any} b */
const worstFirst = (a, b) => Number(a.healthy) - Number(b.healthy) || a.url.localeCompare(b.url) || a.worker - b.worker;

/** @type {import("../parts/table.js").Column[]} */
const TARGETS = [
  { head: "Target", class: "c1 mono nowrap", cell: (row) => row.url.replace(/^https?:\/\//, "") },
  { head: "Health", class: "c2", cell: (row) => (row.healthy ? html`<span class="muted">Healthy</span>` : html`<${State} of="unreachable" word=${row.ejected ? "Ejected" : "Down"} />`) },
  { head: "Routes", class: "c3 cut muted", cell: (row) => html`<span title=${row.routes.join(", ")}>${row.routes.slice(0, 3).join(", ")}${row.routes.length > 3 ? ` and ${row.routes.length - 3} more` : ""}</span>` },
  { head: "Connections", class: "num opt2", cell: (row) => row.connections },
  { head: "In progress", class: "num c4", cell: (row) => html`${row.load}<span class="unit"> in progress</span>` },
  { head: "Worker", class: "num muted opt", cell: (row) => row.worker },
];

export function Limits() {
  const list = useWhole("/gateway/limits", (data) => data.flatMap(rowsOfLimits));
  return html`<${Table} caption="Limits by route" columns=${LIMITS} list=${list} noun="limit" empty=${html`<${Empty} icon="gateway" title="No limits"><p>No route has a rate limit or a limit on requests in progress.</p><//>`} />`;
}

/** @param {any} one */
function rowsOfLimits(one) {
  const rates = Object.entries(one.rate_limits).map(([policy, callers]) => ({ ...one, id: `${one.worker} ${policy}`, rate: rateOf(policy, one.route), callers }));
  return rates.length || one.under_way === null ? rates : [{ ...one, id: `${one.worker} ${one.route}`, rate: "–", callers: null }];
}

/** The words of a policy such as `"orders.ip";q=100;w=1`; without a key it counts by account. @param {string} policy @param {string} route */
function rateOf(policy, route) {
  const found = /^"(.*)";q=(\d+);w=(\d+)/.exec(policy);
  if (!found) return policy;
  const key = found[1].startsWith(`${route}.`) ? found[1].slice(route.length + 1) : "user";
  return `${count(Number(found[2]))} in ${found[3]} s by ${key}`;
}

/** @type {import("../parts/table.js").Column[]} */
const LIMITS = [
  { head: "Route", class: "c1 cut", cell: (row) => html`<span title=${row.route}>${row.route}</span>` },
  { head: "Limit", class: "c3 nowrap", cell: (row) => row.rate },
  { head: "Callers now", class: "num c2", cell: (row) => html`${row.callers ?? "–"}<span class="unit">${row.callers === 1 ? " caller" : " callers"}</span>` },
  { head: "In progress", class: "num opt2", cell: (row) => row.under_way ?? "–" },
  { head: "Counted", class: "muted opt nowrap", cell: (row) => words(row.counted) },
  { head: "Worker", class: "num muted opt", cell: (row) => row.worker },
];

export function Errors() {
  const { code, route } = place.value.query;
  const list = useWhole("/gateway/errors", (data) => data.map((/** @type {any} */ one, /** @type {number} */ n) => ({ ...one, id: `${one.request_id} ${one.worker} ${n}` }))
    .filter((/** @type {any} */ one) => (!code || one.code === code) && (!route || one.route === route)), [code, route]);
  const codes = [...new Set((list.data.value ?? []).map((/** @type {any} */ one) => one.code))].slice(0, CODES_MAX);
  const filters = [code && `the code ${code}`, route && `the route ${route}`].filter(Boolean).join(" and ");
  const empty = filters ? html`<${NothingMatches} noun="errors" filters=${filters} clear=${hrefWith({ code: "", route: "" })} />`
    : html`<${Empty} icon="check" title="No errors"><p>The gateway has refused nothing since it started, and no service has failed.</p><//>`;
  return html`<div class="stack mid"><div class="toolbar">
      ${code && html`<${Chip} name="Code" value=${code} without=${hrefWith({ code: "" })} />`}
      ${route && html`<${Chip} name="Route" value=${route} without=${hrefWith({ route: "" })} />`}
      ${codes.length > 0 && html`<${FilterMenu} id="filter-code" label="Code" options=${codes.map((one) => ({ word: /** @type {string} */ (one), href: hrefWith({ code: one }) }))} />`}</div>
    <${Table} caption="Latest errors, newest first" columns=${ERRORS} list=${list} noun="error" empty=${empty} /></div>`;
}

const BLAMED = /** @type {Record<string, string>} */ ({ client: "The caller", gateway: "The gateway", upstream: "The service" });

/** @type {import("../parts/table.js").Column[]} */
const ERRORS = [
  { head: "What", class: "c1 nowrap", cell: (row) => html`<b>${row.status}</b> ${words(row.code)}` },
  { head: "Route", class: "c3 cut", cell: (row) => html`<a href=${hrefWith({ route: row.route })}>${row.route}</a>` },
  { head: "At fault", class: "c4", cell: (row) => (row.source === "client" ? html`<span class="muted">${BLAMED.client}</span>` : BLAMED[row.source] ?? row.source) },
  { head: "While", class: "muted opt", cell: (row) => words(row.phase) },
  { head: "Request", class: "opt", cell: (row) => (row.request_id ? html`<${CopyId} id=${row.request_id} what="the request id" />` : "–") },
  { head: "Age", class: "num muted nowrap c2", cell: (row) => html`<${Ago} at=${row.time} />` },
];
