// @ts-check
// A list: rows as a table, as cards of two lines where it is narrow, and only those in view in the document.

import { words } from "../core/format.js";
import { place } from "../core/router.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "../core/view.js";
import { Failure, Icon, Later, lookOf } from "./ui.js";

const ROWS_ALWAYS = 30, AROUND = 1, SKELETON_ROWS = 8;

/**
 * `class` says where a cell stands in a card: c1 for the name, c2 for the main figure, c3 for the owner, c4 for the rest. Where space is short, opt and opt2 are hidden first. `look` adds classes that depend on the row.
 * @typedef {{head: string, class?: string, look?: (row: any) => string, title?: (row: any) => string, cell: (row: any) => any}} Column
 */

/** @param {{caption: string, columns: Column[], list: import("../core/list.js").List, noun: string, empty: any}} props */
export function Table({ caption, columns, list, noun, empty }) {
  const rows = list.rows.value, error = list.error.value, fresh = list.fresh.value.length;
  if (rows === null && error) return html`<${Failure} error=${error} retry=${() => list.load()} />`;
  if (rows === null) return html`<div class="card" aria-busy="true"><${Later}><${Skeleton} columns=${columns} caption=${caption} /><//></div>`;
  if (!rows.length && !fresh) return html`<div class="card">${empty}</div>`;
  return html`<div class="card">
    ${fresh > 0 && html`<button class="newrows" type="button" onClick=${() => list.showFresh()}>Show ${fresh} new ${noun}${fresh === 1 ? "" : "s"}</button>`}
    <div class="scroll"><table role="table" class="grid cards" aria-rowcount=${list.next.value ? -1 : rows.length + 1}>
      <caption class="vh">${caption}</caption>
      <${Head} columns=${columns} />
      <${Body} columns=${columns} rows=${rows} />
    </table></div>
    ${error && html`<${Failure} error=${error} retry=${() => list.more() ?? list.load()} />`}
    <${Foot} list=${list} noun=${noun} />
  </div>`;
}

/** @param {{columns: Column[]}} props */
const Head = ({ columns }) => html`<thead role="rowgroup"><tr role="row">
  ${columns.map((one) => html`<th role="columnheader" class=${one.class?.replace(/\b(c\d|cut|mono|muted)\b/g, "").trim() ?? ""}>${one.head}</th>`)}
</tr></thead>`;

/** Draws the rows in view and a few around them; one tall row stands for all rows above, and one for all below. @param {{columns: Column[], rows: any[]}} props */
function Body({ columns, rows }) {
  const body = useRef(/** @type {HTMLElement | null} */ (null));
  const [span, setSpan] = useState({ from: 0, to: ROWS_ALWAYS, height: 40 });
  const isAll = rows.length <= ROWS_ALWAYS;
  useLayoutEffect(() => {
    const scroller = body.current?.closest("main");
    if (isAll || !body.current || !scroller) return undefined;
    const measure = () => {
      const row = /** @type {HTMLElement | null} */ (body.current?.querySelector("tr[data-row]"));
      if (!body.current || !row) return;
      const height = row.offsetHeight || 40;
      const above = scroller.getBoundingClientRect().top - body.current.getBoundingClientRect().top;
      const from = Math.max(0, Math.floor(above / height) - AROUND);
      const to = from + Math.ceil(scroller.clientHeight / height) + 2 * AROUND;
      setSpan((/** @type {typeof span} */ old) => (old.from === from && old.to === to && old.height === height ? old : { from, to, height }));
    };
    measure();
    scroller.addEventListener("scroll", measure, { passive: true });
    addEventListener("resize", measure);
    return () => {
      scroller.removeEventListener("scroll", measure);
      removeEventListener("resize", measure);
    };
  }, [isAll, rows.length]);
  const from = isAll ? 0 : Math.min(span.from, Math.max(0, rows.length - 1)), to = isAll ? rows.length : Math.min(span.to, rows.length);
  const open = place.value.query.open;
  return html`<tbody role="rowgroup" ref=${body}>
    ${from > 0 && html`<${Space} key="above" height=${from * span.height} columns=${columns.length} />`}
    ${rows.slice(from, to).map((row, n) => html`<tr role="row" key=${row.id} data-row=${row.id} aria-rowindex=${from + n + 2} class=${row.id === open ? "open" : ""}>
      ${columns.map((one) => html`<td role="cell" class=${`${one.class ?? ""} ${one.look?.(row) ?? ""}`.trim()} title=${one.title?.(row)}>${safely(one, row)}</td>`)}
    </tr>`)}
    ${to < rows.length && html`<${Space} key="below" height=${(rows.length - to) * span.height} columns=${columns.length} />`}
  </tbody>`;
}

/** One bad row must not blank the page. @param {Column} column @param {any} row */
function safely(column, row) {
  try {
    return column.cell(row);
  } catch {
    return "–";
  }
}

/** @param {{height: number, columns: number}} props */
const Space = ({ height, columns }) =>
  html`<tr role="presentation" class="space"><td role="presentation" colspan=${columns} style=${{ height: `${height}px`, padding: 0 }}></td></tr>`;

/** @param {{columns: Column[], caption: string}} props */
const Skeleton = ({ columns, caption }) => html`<div class="scroll"><table role="table" class="grid cards">
  <caption class="vh">${caption}, loading</caption>
  <${Head} columns=${columns} />
  <tbody role="rowgroup">${Array.from({ length: SKELETON_ROWS }, (_, n) => html`<tr role="row">
    ${columns.map((one) => html`<td role="cell" class=${one.class ?? ""}><span class=${`skel ${n % 2 ? "w7" : "w9"}`}></span></td>`)}
  </tr>`)}</tbody>
</table></div>`;

/** Says how much is here, never a total; loads more when it comes into view. @param {{list: import("../core/list.js").List, noun: string}} props */
function Foot({ list, noun }) {
  const button = useRef(/** @type {HTMLElement | null} */ (null));
  const next = list.next.value, number = list.rows.value?.length ?? 0;
  useEffect(() => {
    if (!button.current || !next) return undefined;
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting) && !list.error.value) list.more();
    }, { root: button.current.closest("main"), rootMargin: "100px" });
    observer.observe(button.current);
    return () => observer.disconnect();
  }, [list, next]);
  return html`<footer><span role="status">${number} ${noun}${number === 1 ? "" : "s"}${next ? " loaded, more follow" : ""}</span>
    ${next && html`<button class="btn sm quiet" type="button" ref=${button} aria-busy=${String(list.isLoading.value)} onClick=${() => list.more()}><${Icon} name="down" />${list.isLoading.value ? "Loading" : "Load more"}</button>`}
  </footer>`;
}

/** A column with a state: the cell itself has the look, which saves an element in each row. @param {string} kind @param {(row: any) => string} of @returns {Column} */
export const stateColumn = (kind, of) => ({
  head: "State", class: kind, look: (row) => `state ${lookOf(of(row))[0]}`, cell: (row) => html`<${Icon} name=${lookOf(of(row))[1]} />${words(of(row))}`,
});

/** A filter that is on, and can be removed. @param {{name: string, value: string, without: string}} props */
export const Chip = ({ name, value, without }) => html`<span class="chip set"><span class="in"><span class="k">${name}</span> <b>${value}</b></span>
  <a class="off" href=${without} aria-label=${`Remove ${name} ${value}`}><${Icon} name="x" /></a></span>`;

/** Choose one of a few values for a filter. @param {{id: string, label: string, options: {word: string, href: string, icon?: string}[]}} props */
export function FilterMenu({ id, label, options }) {
  const [isOpen, setOpen] = useState(false); // the items of a closed menu are not in the document
  return html`<button class="chip add" type="button" popovertarget=${id}><${Icon} name="plus" />${label}</button>
  <div class="menu at" id=${id} popover="auto" onBeforeToggle=${(/** @type {any} */ event) => setOpen(event.newState === "open")}>${isOpen && options.map((one) => html`<a href=${one.href} onClick=${() => document.getElementById(id)?.hidePopover()}>${one.icon && html`<${Icon} name=${one.icon} />`}${one.word}</a>`)}</div>`;
}

/** Nothing matches the filters. @param {{noun: string, filters: string, clear: string}} props */
export const NothingMatches = ({ noun, filters, clear }) => html`<div class="empty"><${Icon} name="search" />
  <h2>No ${noun} match</h2><p>Nothing has ${filters}.</p><div class="btns"><a class="btn" href=${clear}>Clear filters</a></div></div>`;
