// @ts-check
// One registry of commands: it feeds the keyboard, the palette and the help.

import { signal } from "./view.js";

const CHORD_MS = 1_200;

/** @typedef {{id: string, label: string, keys?: string, icon?: string, group: string, run: () => void}} Command */

/** @type {import("./view.js").Signal<Command[]>} */
export const commands = signal([]);

/** Add commands; returns the function that removes them. @param {Command[]} added */
export function addCommands(added) {
  commands.value = [...commands.value, ...added];
  return () => { commands.value = commands.value.filter((one) => !added.includes(one)); };
}

let first = "", firstAt = 0;

/** @param {KeyboardEvent} event */
function onKey(event) {
  const ctrl = event.ctrlKey || event.metaKey;
  if (ctrl && !event.altKey && event.key.toLowerCase() === "k") {
    if (run("palette")) event.preventDefault();
    return;
  }
  if (ctrl || event.altKey || event.isComposing || isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const chord = event.timeStamp - firstAt < CHORD_MS ? `${first} ${event.key}` : "";
  const found = commands.value.find((one) => one.keys === chord) ?? commands.value.find((one) => one.keys === event.key);
  [first, firstAt] = found ? ["", 0] : [event.key, event.timeStamp];
  if (found) {
    event.preventDefault();
    found.run();
  }
}

/** @param {string} id */
function run(id) {
  const found = commands.value.find((one) => one.id === id);
  found?.run();
  return Boolean(found);
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLElement && (target.isContentEditable || target.matches("input:not([type=checkbox]), textarea, select"));
}

export function listen() {
  document.addEventListener("keydown", onKey);
}
