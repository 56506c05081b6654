// @ts-check
// Around the shell: its state, the keys that phones lack, and a tab without a shell.

import { withQuery } from "../core/api.js";
import { useThing } from "../core/list.js";
import { html } from "../core/view.js";
import { Ago, Empty, Failure, Icon, State } from "../parts/ui.js";

const ROWS = 8;
const KEYS = [["Esc", "\x1b"], ["Tab", "\t"], ["↑", "\x1b[A", "Up"], ["↓", "\x1b[B", "Down"], ["←", "\x1b[D", "Left"], ["→", "\x1b[C", "Right"], ["^C", "\x03", "Ctrl C"]];

/** @param {import("./terminals.js").View} view */
export function stateText({ state, details }) {
  if (state === "open") return details?.mode === "ro" ? "Connected, watching only" : "Connected";
  if (state === "waiting") return "Connection lost";
  if (state === "ended") return exitText(details?.exit ?? {});
  if (state === "failed") return details?.code === "ended" ? "The shell has ended" : details?.reason?.replace(/\.$/, "") || "Refused";
  return "Connecting";
}

/** @param {any} exit */
function exitText(exit) {
  if (exit.reason === "killed") return "The box has ended";
  if (exit.lost) return "The shell was lost";
  return exit.signal ? `Ended by signal ${exit.signal}` : `Ended with code ${exit.code}`;
}

/** @param {{text: string, box: any, hasScreen: boolean}} props */
export const StatusLine = ({ text, box, hasScreen }) => html`<div class="statusline"><span role="status">${text}</span>
  ${box?.isolation === "none" && html`<span class="iso"><${Icon} name="warn" class="warn" />Not isolated: shells run as the user of this server</span>`}
  <span class="grow"></span>
  ${hasScreen && html`<span class="opt"><kbd>Ctrl</kbd> <kbd>Shift</kbd> <kbd>Enter</kbd> leaves the terminal</span>`}</div>`;

/** @param {{isCtrl: boolean, onCtrl: () => void, onKey: (text: string) => void}} props */
export const KeyRow = ({ isCtrl, onCtrl, onKey }) => html`<div class="keyrow" role="group" aria-label="Keys that phones lack">
  <button type="button" aria-pressed=${String(isCtrl)} onClick=${onCtrl}>Ctrl</button>
  ${KEYS.map(([word, text, label]) => html`<button type="button" key=${word} aria-label=${label ?? word} onClick=${() => onKey(text)}>${word}</button>`)}</div>`;

/** @param {{box: any, isBusy: boolean, onStart: () => void}} props */
export function NoShell({ box, isBusy, onStart }) {
  const past = useThing(withQuery("/terminal/sessions", { limit: ROWS })), rows = past.data.value ?? [];
  const minutes = box.data.value ? Math.round(box.data.value.limits.idle_seconds / 60) : 0;
  return html`<div class="noshell"><${Empty} icon="terminal" title="No shell in this tab">
      <p>A shell keeps running while the page is closed or the connection is lost${minutes ? `, until nothing has happened in it for ${minutes} minutes` : ""}.</p>
      <div class="btns"><button class="btn primary" type="button" aria-busy=${String(isBusy)} onClick=${() => isBusy || onStart()}>${isBusy ? "Starting" : "Start a shell"}</button></div><//>
    ${past.error.value && html`<${Failure} error=${past.error.value} retry=${past.load} />`}
    ${rows.length > 0 && html`<section class="card"><header><h2>Your latest shells</h2></header><div class="scroll"><table role="table" class="grid cards"><caption class="vh">Your latest shells</caption>
      <thead role="rowgroup"><tr role="row"><th role="columnheader">Tab</th><th role="columnheader">State</th><th role="columnheader">End</th><th role="columnheader" class="num">Started</th></tr></thead>
      <tbody role="rowgroup">${rows.map((/** @type {any} */ row) => html`<tr role="row" key=${row.id}><td role="cell" class="c1">${row.tab}</td>
        <td role="cell" class="c2"><${State} of=${row.state === "open" ? "active" : row.state === "lost" ? "unreachable" : "closed"} word=${WORDS[row.state] ?? row.state} /></td>
        <td role="cell" class="c3 muted">${endOf(row)}</td><td role="cell" class="c4 num muted"><${Ago} at=${row.created} ago /></td></tr>`)}</tbody></table></div></section>`}
  </div>`;
}

const WORDS = /** @type {Record<string, string>} */ ({ starting: "Starting", open: "Open", ended: "Ended", lost: "Lost" });

/** @param {any} row */
function endOf(row) {
  if (row.exit_signal) return `Signal ${row.exit_signal}`;
  return row.exit_code === null ? "–" : `Code ${row.exit_code}`;
}
