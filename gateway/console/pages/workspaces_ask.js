// @ts-check
// The question line: what was understood is shown as filters that can be removed, never as a query language.

import { post } from "../core/api.js";
import { counted, words } from "../core/format.js";
import { go, hrefWith, place } from "../core/router.js";
import { html, useEffect, useState } from "../core/view.js";
import { Exact, Failure, Icon } from "../parts/ui.js";

const ROWS_MAX = 10;
const OPS = /** @type {Record<string, string>} */ ({ eq: "is", ne: "is not", lt: "under", le: "at most", gt: "over", ge: "at least", in: "one of", contains: "contains", has: "has", lacks: "lacks" });

export function Ask() {
  const { query } = place.value;
  const [text, setText] = useState(query.ask ?? ""), [found, setFound] = useState(/** @type {any} */ (null));
  const [error, setError] = useState(/** @type {any} */ (null)), [isBusy, setBusy] = useState(false);
  useEffect(() => {
    setText(query.ask ?? "");
    if (query.ask) run("/ai/query", { prompt: query.ask });
    else [setFound, setError].forEach((set) => set(null));
  }, [query.ask]);
  /** @param {string} path @param {any} body */
  const run = async (path, body) => {
    setBusy(true);
    setError(null);
    try {
      setFound((await post(path, body)).data);
    } catch (refused) {
      setFound(null);
      setError(refused);
    } finally {
      setBusy(false);
    }
  };
  /** @param {SubmitEvent} event */
  const onSubmit = (event) => {
    event.preventDefault();
    const asked = text.trim();
    if (asked && asked === query.ask) run("/ai/query", { prompt: asked });
    else go(hrefWith({ ask: asked, open: "" }));
  };
  return html`<section class="card" aria-label="Ask"><div class="body" style=${{ paddingTop: "var(--s4)" }}>
    <form class="toolbar" onSubmit=${onSubmit}><div class="search grow"><${Icon} name="search" /><input class="input" type="search" aria-label="Ask about your WorkSpaces" placeholder="Ask, such as: Which WorkSpaces have not been used in 30 days?" maxlength="500" value=${text}
      onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)} /></div>
      <button class="btn" type="submit" aria-busy=${String(isBusy)}>${isBusy ? "Asking" : "Ask"}</button></form>
    <div aria-live="polite" class="stack mid" style=${{ marginTop: error || found ? "var(--s4)" : 0 }}>${error && (error.code === "not_understood" ? html`<${NotUnderstood} error=${error} />` : html`<${Failure} error=${error} />`)}
      ${found && html`<${Answer} found=${found} onRun=${(/** @type {any} */ question) => run("/ai/run", { query: question })} />`}</div>
  </div></section>`;
}

/** @param {{error: any}} props */
const NotUnderstood = ({ error }) => html`<p><b>${error.message}</b> <span class="muted">Use words like these:</span></p>
  <div class="btns"><${Example} text="Which WorkSpaces have not been used in 30 days?" /><${Example} text="Always on WorkSpaces with less than 80 hours last month" /><${Example} text="Total cost last month" /></div>`;

/** @param {{text: string}} props */
const Example = ({ text }) => html`<a class="btn sm" href=${hrefWith({ ask: text })}>${text}</a>`;

/** @param {{found: any, onRun: (question: any) => void}} props */
function Answer({ found, onRun }) {
  const filters = found.query.filters ?? [];
  /** @param {number} n */
  const without = (n) => onRun({ ...found.query, filters: filters.filter((/** @type {any} */ _, /** @type {number} */ at) => at !== n) });
  const rows = found.rows.slice(0, ROWS_MAX);
  return html`<p><b>${found.answer}</b> <span class="muted">${found.understood}.</span></p>
    ${filters.length > 0 && html`<div class="toolbar"><span class="muted">Read as</span>${filters.map((/** @type {any} */ one, /** @type {number} */ n) => html`<span class="chip set" key=${n}><span class="in"><span class="k">${words(one.field)}</span> <b>${said(one)}</b></span>
      <button class="off" type="button" aria-label=${`Remove ${words(one.field)} ${said(one)}`} onClick=${() => without(n)}><${Icon} name="x" /></button></span>`)}</div>`}
    ${rows.length > 0 && found.columns.length > 0 && html`<div class="scroll" tabindex="0" role="region" aria-label="Answer"><table class="grid"><caption class="vh">Answer</caption><thead><tr>${found.columns.map((/** @type {any} */ one) => html`<th class=${isNumber(rows, found.columns.indexOf(one)) ? "num" : ""}>${words(one.name)}</th>`)}</tr></thead>
      <tbody>${rows.map((/** @type {any[]} */ row, /** @type {number} */ n) => html`<tr key=${n}>${row.map((value, at) => html`<td class=${`nowrap ${typeof value === "number" ? "num" : ""}`}><${Cell} value=${value} name=${found.columns[at].name} /></td>`)}</tr>`)}</tbody></table></div>
      ${found.rows.length > ROWS_MAX && html`<p class="muted">The first ${ROWS_MAX} of ${counted(found.rows.length, "row")}.</p>`}`}`;
}

/** @param {any[][]} rows @param {number} at */
const isNumber = (rows, at) => rows.some((row) => typeof row[at] === "number");

/** @param {any} filter */
function said(filter) {
  const value = Array.isArray(filter.value) ? filter.value.join(", ") : String(filter.value ?? "");
  const shown = value.toLowerCase().replaceAll("_", " ");
  return filter.op === "eq" ? shown : `${OPS[filter.op] ?? words(filter.op).toLowerCase()} ${shown}`.trim();
}

/** @param {{value: any, name: string}} props */
function Cell({ value, name }) {
  if (value === null) return html`–`;
  if (name === "workspace_id") return html`<a class="mono" href=${hrefWith({ open: value })}>${value}</a>`;
  if (typeof value === "string" && /^\d{4}-\d\d-\d\dT/.test(value)) return html`<${Exact} at=${value} />`;
  return html`${typeof value === "string" && /^[A-Z_]+$/.test(value) ? words(value) : value}`;
}
