// @ts-check
// Advice on machines: what to change, what it saves, and what was decided.

import { withQuery } from "../core/api.js";
import { amount, words } from "../core/format.js";
import { useList } from "../core/list.js";
import { hrefWith, place } from "../core/router.js";
import { html } from "../core/view.js";
import { Chip, FilterMenu, NothingMatches, Table } from "../parts/table.js";
import { Ago, Empty } from "../parts/ui.js";

const KINDS = /** @type {Record<string, string>} */ ({
  to_always_on: "Pay for the whole month", to_auto_stop: "Pay by the hour", unused: "Remove what nobody uses", never_used: "Remove what was never used",
  oversized: "Take a smaller bundle", orphan: "Remove what has no owner",
});
const STATES = ["open", "accepted", "dismissed", "done", "expired"];

/** @param {string} kind */
export const adviceWord = (kind) => KINDS[kind] ?? words(kind);

export function Advice() {
  const { query } = place.value, state = query.state || "open";
  const list = useList(withQuery("/advice", { state, kind: query.kind }));
  const filters = [`the state ${state}`, query.kind && `the advice “${adviceWord(query.kind)}”`].filter(Boolean).join(" and ");
  const empty = query.kind || query.state ? html`<${NothingMatches} noun="savings" filters=${filters} clear=${hrefWith({ kind: "", state: "" })} />`
    : html`<${Empty} icon="check" title="Nothing to save"><p>Advice appears when a machine has been used for some weeks.</p><//>`;
  return html`<div class="stack mid"><div class="toolbar">
      ${query.kind && html`<${Chip} name="Advice" value=${adviceWord(query.kind)} without=${hrefWith({ kind: "", open: "" })} />`}
      ${query.state && html`<${Chip} name="State" value=${words(query.state)} without=${hrefWith({ state: "", open: "" })} />`}
      <${FilterMenu} id="filter-kind" label="Advice" options=${Object.entries(KINDS).map(([one, word]) => ({ word, href: hrefWith({ kind: one, open: "" }) }))} />
      <${FilterMenu} id="filter-state" label="State" options=${STATES.map((one) => ({ word: words(one), href: hrefWith({ state: one, open: "" }) }))} /></div>
    <${Table} caption="Savings, newest first" columns=${COLUMNS} list=${list} noun="saving" empty=${empty} /></div>`;
}

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { head: "Machine", class: "c1 mono nowrap", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.workspace_id })}>${row.workspace_id}</a>` },
  { head: "Advice", class: "c3", cell: (row) => adviceWord(row.kind) },
  { head: "Because", class: "muted cut opt", cell: (row) => evidence(row.basis) },
  { head: "A month", class: "num c2 nowrap", cell: (row) => (row.saving_low === null ? "–" : html`<span class="faint">${row.currency} </span>${saving(row)}`) },
  { head: "Found", class: "num muted nowrap c4", cell: (row) => html`<${Ago} at=${row.found} />` },
];

/** @param {any} row */
export const saving = (row) => (Number(row.saving_high) > Number(row.saving_low) ? `${amount(Number(row.saving_low), row.currency)} to ${amount(Number(row.saving_high), row.currency)}` : amount(Number(row.saving_low), row.currency));

/** The simple facts behind a piece of advice. @param {Record<string, any>} basis */
export const evidence = (basis) => Object.entries(basis ?? {}).filter(([, value]) => value !== null && typeof value !== "object").map(([name, value]) => `${words(name)} ${String(value).toLowerCase().replaceAll("_", " ")}`).join(", ");
