// @ts-check
// One invoice or credit note: its lines, taxes and parties, and the PDF.

import { amount, money, words } from "../core/format.js";
import { useThing } from "../core/list.js";
import { href } from "../core/router.js";
import { html } from "../core/view.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { CopyId, Exact, Failure, Icon, Lines } from "../parts/ui.js";

/** @param {{id: string, list: import("../core/list.js").List}} props */
export function InvoiceDrawer({ id, list }) {
  const row = list.rows.value?.find((one) => one.id === id);
  const path = row && `/orders/${row.order_id}/${row.kind === "invoice" ? "invoice" : "credit-note"}`;
  const full = useThing(path ?? null);
  const footer = path && html`<a class="btn primary" href=${path} download=${`${row.number}.pdf`}><${Icon} name="download" />Download PDF</a>
    <a class="btn" href=${href("orders", { open: row.order_id })}>Show the order</a>`;
  return html`<${Drawer} title=${row?.number ?? "Invoice"} noun="document" id=${id} rows=${list.rows.value} footer=${footer}>
    ${!row && list.rows.value && html`<p class="muted">This document is not among those that are loaded. Load more rows, or remove a filter.</p>`}
    ${full.error.value && html`<${Failure} error=${full.error.value} retry=${full.load} />`}
    ${full.data.value ? html`<${Content} paper=${full.data.value} />` : (row || !list.rows.value) && !full.error.value && html`<${Lines} rows=${6} />`}
  <//>`;
}

/** @param {{paper: any}} props */
function Content({ paper }) {
  return html`<section><h3 class="vh">Facts</h3><${Facts} rows=${[
      ["Kind", words(paper.kind)],
      ["Corrects", paper.corrects],
      ["Issued", html`<${Exact} at=${paper.issued} />`],
      ["Seller", html`<${Party} party=${paper.seller} />`],
      ["Buyer", html`<${Party} party=${paper.buyer} />`],
      ["Id", html`<${CopyId} id=${paper.id} what="the id of the document" />`],
    ]} /></section>
    <section><h3>Lines</h3><table class="money"><caption class="vh">Lines and taxes</caption><tbody>
      ${paper.lines?.map((/** @type {any} */ line, /** @type {number} */ n) => html`<tr key=${n}><td>${line.quantity} × ${line.name}</td><td>${amount(line.net, paper.currency)}</td></tr>`)}
      ${paper.taxes?.map((/** @type {any} */ tax) => html`<tr key=${`tax-${tax.tax_rate}`} class="muted"><td>Tax ${tax.tax_rate} %</td><td>${amount(tax.tax, paper.currency)}</td></tr>`)}
      <tr class="sum"><td>Total</td><td>${money(paper.total, paper.currency)}</td></tr></tbody></table></section>`;
}

/** @param {{party: any}} props */
const Party = ({ party }) => (party ? html`<span class="said">${[party.name, party.address, party.tax_id && `Tax id ${party.tax_id}`].filter(Boolean).join("\n")}</span>` : html`–`);
