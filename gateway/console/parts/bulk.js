// @ts-check
// One action on many rows: which of them allow it, how far it is, and what failed. Each row is a request of its own.

import { say } from "../core/app_state.js";
import { count, counted } from "../core/format.js";
import { html, useLayoutEffect, useRef, useState } from "../core/view.js";
import { Confirm } from "./dialog.js";
import { Failure, faultIn, Icon } from "./ui.js";

/** @typedef {{word: string, busy: string, done: string, isDanger?: boolean, can: (row: any) => boolean, run: (row: any) => Promise<any>}} BulkAction */

/** How many rows are chosen, and in `children` what can be done with them. @param {{picks: import("./pick.js").Picks, list: import("../core/list.js").List, noun: string, children: any}} props */
export function Chosen({ picks, list, noun, children }) {
  const loaded = list.rows.value ?? [], number = loaded.filter((row) => picks.ids.has(row.id)).length;
  return html`<span class="t" role="status">${number ? `${counted(number, noun)} chosen` : `No ${noun} is chosen`}</span>
    <div class="btns">${number > 0 && children}
      ${number < loaded.length && html`<button class="btn sm quiet" type="button" onClick=${() => picks.set(loaded.map((row) => row.id))}>Choose all ${count(loaded.length)} loaded</button>`}
      ${number > 0 && html`<button class="btn sm quiet" type="button" onClick=${() => picks.set([])}>Choose none</button>`}</div>`;
}

/** @param {{picks: import("./pick.js").Picks, list: import("../core/list.js").List, noun: string, name: (row: any) => string, actions: BulkAction[]}} props */
export function BulkBar({ picks, list, noun, name, actions }) {
  const rows = (list.rows.value ?? []).filter((row) => picks.ids.has(row.id));
  const [asked, setAsked] = useState(/** @type {BulkAction | null} */ (null)), [progress, setProgress] = useState(/** @type {any} */ (null));
  const [failed, setFailed] = useState(/** @type {{row: any, error: any}[]} */ ([])), isStopped = useRef(false);
  const latest = useRef({ picks, list });
  latest.current = { picks, list };
  // What is not shown any more must not be changed: that of another page, or of another filter.
  useLayoutEffect(() => () => {
    isStopped.current = true;
    setAsked(null);
    setFailed([]);
  }, [list]);
  /** @param {any} row */
  const isChosen = (row) => latest.current.picks.ids.has(row.id) && list.rows.value?.some((one) => one.id === row.id);
  /** @param {BulkAction} action */
  const run = async (action) => {
    const able = rows.filter(action.can), lost = [];
    let done = 0;
    isStopped.current = false;
    setAsked(null);
    setFailed([]);
    for (const [tried, row] of able.entries()) {
      if (isStopped.current) break;
      if (!isChosen(row)) continue;
      setProgress({ action, done: tried, total: able.length });
      try {
        const changed = await action.run(row);
        if (changed?.id === row.id) list.put(changed);
        picks.drop(row.id);
        done += 1;
      } catch (error) {
        lost.push({ row, error });
        if (endsAll(error)) break; // the others would be refused for the same reason
      }
    }
    setProgress(null);
    if (latest.current.list === list) setFailed(lost);
    else if (lost.length) say(`${counted(lost.length, noun)} could not be changed.`, { isFault: true });
    if (done) say(`${counted(done, noun)} ${action.done}.`);
  };
  const blocked = failed.find((/** @type {any} */ one) => endsAll(one.error));
  return html`<section class="banner" aria-label="Chosen rows">
    ${progress ? html`<span class="t" role="status">${progress.action.busy} ${count(progress.done + 1)} of ${count(progress.total)}</span>
        <progress max=${progress.total} value=${progress.done} aria-label=${progress.action.busy}></progress>
        <button class="btn sm" type="button" onClick=${() => { isStopped.current = true; }}>Stop after this one</button>`
      : html`<${Chosen} picks=${picks} list=${list} noun=${noun}>${actions.filter((one) => rows.some(one.can)).map((one) => html`<button class=${`btn sm ${one.isDanger ? "danger" : ""}`} type="button" key=${one.word} onClick=${() => setAsked(one)}>${one.word}</button>`)}<//>`}
    ${failed.length > 0 && html`<div style=${{ flexBasis: "100%" }}>${blocked ? html`<${Failure} error=${blocked.error} unharmed="The others were not changed, and are still chosen." />`
      : html`<div class="banner bad" role="alert"><${Icon} name="error" class="bad" /><div class="t"><b>${counted(failed.length, noun)} could not be changed</b>, and ${failed.length === 1 ? "is" : "are"} still chosen.
        <ul class="lost">${failed.map((/** @type {any} */ { row, error }) => html`<li key=${row.id}>${name(row)}: ${error.status === 412 ? "it was changed meanwhile" : faultIn(error).replace(/\.$/, "")}</li>`)}</ul></div>
        <div class="btns"><button class="btn sm" type="button" onClick=${() => { setFailed([]); list.load(); }}>Reload the list</button></div></div>`}</div>`}
    ${asked && html`<${Confirm} title=${`${asked.word}: ${counted(rows.filter(asked.can).length, noun)}?`} isDanger=${asked.isDanger} yes=${asked.word} no="Keep them" text=${html`<${Preview} rows=${rows} action=${asked} name=${name} />`}
      onYes=${() => run(asked)} onNo=${() => setAsked(null)} />`}
  </section>`;
}

/** @param {any} error */
const endsAll = (error) => error.needsStepUp || error.status === 401 || error.isDown;

/** Says which rows the action will change, and which of the chosen ones do not allow it. @param {{rows: any[], action: BulkAction, name: (row: any) => string}} props */
function Preview({ rows, action, name }) {
  const able = rows.filter(action.can), others = rows.length - able.length, shown = able.slice(0, 5);
  return html`<p>${shown.map((row) => name(row)).join(", ")}${able.length > shown.length ? ` and ${count(able.length - shown.length)} more` : ""}.</p>
    ${others > 0 && html`<p class="muted">${count(able.length)} of ${count(rows.length)} allow this. The other ${others === 1 ? "one stays as it is" : `${count(others)} stay as they are`}.</p>`}`;
}
