// @ts-check
// Invoices and credit notes: the list by year and kind, and one of them in the drawer with its PDF.

import { withQuery } from "../core/api.js";
import { isAdmin } from "../core/app_state.js";
import { amount, shortened, words } from "../core/format.js";
import { useList } from "../core/list.js";
import { href, hrefWith, place } from "../core/router.js";
import { html } from "../core/view.js";
import { Chip, FilterMenu, NothingMatches, Table } from "../parts/table.js";
import { Ago, Empty, later, Page } from "../parts/ui.js";

const InvoiceDrawer = later(() => import("./invoice_drawer.js"), "InvoiceDrawer");
const KINDS = ["invoice", "credit_note"], YEARS = 5;

export default function Invoices() {
  const { query } = place.value;
  const list = useList(withQuery("/invoices", { year: query.year, kind: query.kind, user_id: query.user }));
  return html`<${Page} title="Invoices" lead="An invoice never changes. A credit note cancels it.">
      <div class="stack mid"><${Filters} query=${query} />
        <${Table} caption="Invoices and credit notes, newest first" columns=${columns()} list=${list} noun="document" empty=${nothing(query)} /></div>
    <//>
    ${query.open && html`<${InvoiceDrawer} key=${query.open} id=${query.open} list=${list} />`}`;
}

/** @returns {import("../parts/table.js").Column[]} */
const columns = () => [
  { head: "Number", class: "c1 nowrap", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.id })}>${row.number}</a>` },
  { head: "Kind", class: "c4", cell: (row) => (row.kind === "invoice" ? html`<span class="muted">Invoice</span>` : html`<span class="badge warn">Credit note</span>`) },
  ...(isAdmin.value ? [{ head: "Customer", class: "opt mono muted nowrap", title: (/** @type {any} */ row) => row.user_id, cell: (/** @type {any} */ row) => shortened(row.user_id) }] : []),
  { head: "Total", class: "num c2 nowrap", cell: (row) => html`<span class="faint">${row.currency} </span>${amount(row.total, row.currency)}` },
  { head: "Issued", class: "num muted nowrap c3", cell: (row) => html`<${Ago} at=${row.issued} />` },
];

/** @param {{query: Record<string, string>}} props */
function Filters({ query }) {
  const year = new Date().getUTCFullYear();
  return html`<div class="toolbar">
    ${query.kind && html`<${Chip} name="Kind" value=${words(query.kind)} without=${hrefWith({ kind: "", open: "" })} />`}
    ${query.year && html`<${Chip} name="Year" value=${query.year} without=${hrefWith({ year: "", open: "" })} />`}
    ${query.user && html`<${Chip} name="Customer" value=${shortened(query.user)} without=${hrefWith({ user: "", open: "" })} />`}
    <${FilterMenu} id="filter-kind" label="Kind" options=${KINDS.map((one) => ({ word: words(one), href: hrefWith({ kind: one, open: "" }) }))} />
    <${FilterMenu} id="filter-year" label="Year" options=${Array.from({ length: YEARS }, (_, n) => ({ word: String(year - n), href: hrefWith({ year: year - n, open: "" }) }))} />
  </div>`;
}

/** @param {Record<string, string>} query */
function nothing(query) {
  const filters = [query.kind && `the kind ${words(query.kind).toLowerCase()}`, query.year && `the year ${query.year}`, query.user && "this customer"].filter(Boolean).join(" and ");
  if (filters) return html`<${NothingMatches} noun="documents" filters=${filters} clear=${hrefWith({ kind: "", year: "", user: "", open: "" })} />`;
  return html`<${Empty} icon="invoices" title="No invoices yet"><p>An invoice is issued from a confirmed order.</p>
    <div class="btns"><a class="btn" href=${href("orders", { status: "confirmed" })}>Show confirmed orders</a></div><//>`;
}
