// @ts-check
// Columns by month, with their table. The caption states the finding; everything can be read without hovering.

import { html } from "../core/view.js";

const HEIGHT = 160, LABELS = 24, SHARE = 0.7;
const MONTH = new Intl.DateTimeFormat("en-GB", { month: "short", timeZone: "UTC" });

/** @param {string} month such as 2026-11 */
export const monthName = (month) => MONTH.format(new Date(`${month.slice(0, 7)}-01T00:00:00Z`)).slice(0, 3);

/** @typedef {{key: string, value: number, isPartial?: boolean}} Bar */

/** @param {{bars: Bar[], caption: any, head: string, text: (value: number) => string}} props */
export function Columns({ bars, caption, head, text }) {
  const most = Math.max(...bars.map((one) => one.value), 0) || 1, step = 100 / bars.length;
  const every = Math.ceil(bars.length / 6); // on a phone, more labels would touch
  return html`<figure class="chart stack mid"><figcaption>${caption}</figcaption>
    <svg width="100%" height=${HEIGHT + LABELS} aria-hidden="true" style=${{ display: "block" }}>
      ${[0.5, 1].map((share) => html`<line x1="0" x2="100%" y1=${HEIGHT - HEIGHT * share + 0.5} y2=${HEIGHT - HEIGHT * share + 0.5} style=${{ stroke: "var(--grid)" }} />`)}
      ${bars.map((one, n) => html`<rect key=${one.key} x=${`${n * step + (step * (1 - SHARE)) / 2}%`} width=${`${step * SHARE}%`} y=${HEIGHT - HEIGHT * (one.value / most)} height=${HEIGHT * (one.value / most)} style=${{ fill: "var(--chart-1)", opacity: one.isPartial ? 0.5 : 1 }} />`)}
      <line x1="0" x2="100%" y1=${HEIGHT - 0.5} y2=${HEIGHT - 0.5} style=${{ stroke: "var(--line-strong)" }} />
      ${bars.map((one, n) => ((bars.length - 1 - n) % every ? null : html`<text x=${`${(n + 0.5) * step}%`} y=${HEIGHT + 18} text-anchor="middle" style=${{ fill: "var(--muted)", font: "400 var(--t-meta) var(--sans)" }}>${monthName(one.key)}</text>`))}
    </svg>
    <details class="datatable"><summary>Show as table</summary><table><thead><tr><th>Month</th><th class="num">${head}</th></tr></thead>
      <tbody>${bars.map((one) => html`<tr key=${one.key}><td>${one.key}${one.isPartial ? ", so far" : ""}</td><td class="num">${text(one.value)}</td></tr>`)}</tbody></table></details>
  </figure>`;
}

/** A few months as lines, for a narrow place. @param {{bars: Bar[], text: (value: number) => string}} props */
export function Lying({ bars, text }) {
  const most = Math.max(...bars.map((one) => one.value), 0) || 1;
  return html`<ul class="bars">${bars.map((one) => html`<li key=${one.key}><span class="muted">${monthName(one.key)} ${one.key.slice(2, 4)}</span>
    <svg aria-hidden="true"><rect width=${`${(one.value / most) * 100}%`} height="100%" style=${{ fill: "var(--chart-1)", opacity: one.isPartial ? 0.5 : 1 }} /></svg><span class="e">${text(one.value)}</span></li>`)}</ul>`;
}
