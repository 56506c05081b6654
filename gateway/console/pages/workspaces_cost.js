// @ts-check
// What the machines cost by month, and what could be saved.

import { count, money } from "../core/format.js";
import { useThing } from "../core/list.js";
import { hrefWith } from "../core/router.js";
import { html } from "../core/view.js";
import { Empty, Failure, Lines } from "../parts/ui.js";
import { adviceWord } from "./workspaces_advice.js";
import { Columns, monthName } from "./workspaces_chart.js";

const MONTHS = 12;

/** The months of the currency in which most is paid, oldest first. @param {any[]} sums @returns {any[]} */
function monthsOf(sums) {
  const totals = /** @type {Record<string, number>} */ ({});
  for (const one of sums) totals[one.currency] = (totals[one.currency] ?? 0) + Number(one.amount);
  const currency = Object.keys(totals).sort((a, b) => totals[b] - totals[a])[0];
  return sums.filter((one) => one.currency === currency).sort((a, b) => a.key.localeCompare(b.key)).slice(-MONTHS);
}

export function Cost() {
  const thing = useThing("/billing/summary?by=month");
  /** @type {any[] | null} */
  const months = thing.data.value && monthsOf(thing.data.value.sums);
  return html`<section class="card"><header><h2>Cost</h2></header>${thing.error.value ? html`<div class="body"><${Failure} error=${thing.error.value} retry=${thing.load} /></div>`
    : !months ? html`<div class="body"><${Lines} rows=${6} /></div>`
    : !months.length ? html`<${Empty} icon="dashboard" title="No bills yet"><p>The cost appears once bills have been read.</p><//>`
    : html`<div class="body"><${Columns} head=${months[0].currency} caption=${finding(months)} text=${(/** @type {number} */ value) => money(value, months[0].currency)}
        bars=${months.map((/** @type {any} */ one) => ({ key: one.key, value: Number(one.amount), isPartial: one.estimated }))} /></div>`}</section>`;
}

/** @param {any[]} months */
function finding(months) {
  const last = months[months.length - 1], before = months[months.length - 2];
  const now = html`<b>${money(Number(last.amount), last.currency)}</b> ${last.estimated ? "so far " : ""}in ${monthName(last.key)}`;
  return before ? html`${now}, after ${money(Number(before.amount), before.currency)} in ${monthName(before.key)}.` : html`${now}.`;
}

export function Savings() {
  const thing = useThing("/advice/summary");
  const sums = thing.data.value?.sums.toSorted((/** @type {any} */ a, /** @type {any} */ b) => Number(b.saving_high ?? 0) - Number(a.saving_high ?? 0));
  const currency = sums?.[0]?.currency, total = sums?.filter((/** @type {any} */ one) => one.currency === currency).reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + Number(one.saving_low ?? 0), 0);
  return html`<section class="card"><header><h2>Savings</h2>${total > 0 && html`<b class="good tab">${money(total, currency)} a month</b>`}</header>
    ${thing.error.value ? html`<div class="body"><${Failure} error=${thing.error.value} retry=${thing.load} /></div>`
    : !sums ? html`<div class="body"><${Lines} /></div>`
    : !sums.length ? html`<${Empty} icon="check" title="Nothing to save yet"><p>Advice appears after a sync, when a machine has been used for some weeks.</p><//>`
    : html`<div class="rows">${sums.map((/** @type {any} */ one) => html`<a key=${`${one.kind} ${one.currency}`} href=${hrefWith({ tab: "savings", kind: one.kind, open: "" })}>
        <span class="t">${adviceWord(one.kind)}<small>${one.count} ${one.count === 1 ? "machine" : "machines"}</small></span><span class="e">${one.saving_low === null ? "–" : html`<b>${range(one)}</b>`}</span></a>`)}</div>`}
  </section>`;
}

/** @param {any} one */
function range(one) {
  const [low, high] = [Number(one.saving_low), Number(one.saving_high)];
  return high > low ? `${one.currency} ${count(Math.round(low))} to ${count(Math.round(high))}` : money(low, one.currency);
}
