// @ts-check
// All keys, from the same registry that the keyboard uses.

import { commands } from "../core/keys.js";
import { html } from "../core/view.js";
import { Dialog } from "./dialog.js";

/** The keys of a command as they are on the keyboard. @param {string} keys */
export const keyNames = (keys) => keys.split(" ").map((key) => (/^[A-Z]$/.test(key) ? `Shift ${key}` : key.length === 1 ? key.toUpperCase() : key));

/** @param {{onClose: () => void}} props */
export function Help({ onClose }) {
  const groups = [...new Set(commands.value.filter((one) => one.keys).map((one) => one.group))];
  return html`<${Dialog} label="Keyboard" onClose=${onClose}>
    <div class="in"><h2 tabindex="-1" autofocus>Keyboard</h2>${groups.map((group) => html`<section key=${group}><h3>${group}</h3>
      <dl class="keylist">${commands.value.filter((one) => one.group === group && one.keys).map((one) => html`<dt>${one.label}</dt>
        <dd>${keyNames(one.keys ?? "").map((key) => html`<kbd>${key}</kbd> `)}</dd>`)}</dl></section>`)}</div>
    <footer><button class="btn" type="button" onClick=${onClose}>Close</button></footer>
  <//>`;
}
