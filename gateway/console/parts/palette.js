// @ts-check
// The palette: pages, commands, and things by their id. A combobox with a list box, in a dialog.

import { get } from "../core/api.js";
import { words } from "../core/format.js";
import { commands } from "../core/keys.js";
import { go, href } from "../core/router.js";
import { html, useEffect, useRef, useState } from "../core/view.js";
import { Dialog } from "./dialog.js";
import { keyNames } from "./help.js";
import { Icon } from "./ui.js";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const WAIT_MS = 150, HITS_MAX = 12;

/** @typedef {{id: string, label: string, end?: any, icon?: string, group: string, run: () => void}} Hit */

/** @param {{pages: import("./shell.js").PageEntry[], onClose: () => void}} props */
export function Palette({ pages, onClose }) {
  const [text, setText] = useState(""), [at, setAt] = useState(0);
  const [found, setFound] = useState(/** @type {Hit[]} */ ([]));
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    setFound([]);
    const wanted = text.trim();
    if (wanted.length < 2) return undefined;
    const abort = new AbortController();
    const timer = setTimeout(async () => {
      const hits = await lookUp(wanted, pages, abort.signal);
      if (!abort.signal.aborted) setFound(hits);
    }, WAIT_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text]);
  const hits = [...found, ...matching(text)].slice(0, HITS_MAX);
  const index = Math.min(at, Math.max(0, hits.length - 1));
  useEffect(() => { list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }); }, [index]);
  /** @param {Hit | undefined} hit */
  const open = (hit) => {
    if (!hit) return;
    onClose();
    hit.run();
  };
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    const steps = /** @type {Record<string, number>} */ ({ ArrowDown: 1, ArrowUp: -1 });
    if (event.key in steps && hits.length) {
      event.preventDefault();
      setAt((index + steps[event.key] + hits.length) % hits.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      open(hits[index]);
    }
  };
  return html`<${Dialog} label="Search and commands" class="palette" onClose=${onClose}>
    <div class="find"><${Icon} name="search" /><input type="text" role="combobox" aria-expanded="true" aria-controls="palette-list" aria-autocomplete="list"
      aria-activedescendant=${hits.length ? `palette-${index}` : undefined} aria-label="Search or run a command" placeholder="Page, command or id" autocomplete="off" spellcheck="false"
      value=${text} onInput=${(/** @type {any} */ event) => { setText(event.currentTarget.value); setAt(0); }} onKeyDown=${onKeyDown} autofocus />
      <button class="key" type="button" onClick=${onClose}><kbd>Esc</kbd><span class="vh"> closes</span></button></div>
    <div class="hits" role="listbox" id="palette-list" aria-label="Results" ref=${list}>${grouped(hits).map(([group, members]) => html`<div role="group" aria-label=${group} key=${group}>
      <div class="grp" aria-hidden="true">${group}</div>
      ${members.map(([hit, n]) => html`<div role="option" key=${hit.id} id=${`palette-${n}`} aria-selected=${String(n === index)} onClick=${() => open(hit)} onMouseMove=${() => n !== index && setAt(n)}>
        <${Icon} name=${hit.icon ?? "go"} /><span class="t">${hit.label}</span><span class="e">${hit.end}</span></div>`)}</div>`)}
    </div>
    ${!hits.length && html`<p class="none" role="status">Nothing matches “${text}”.</p>`}
    <footer aria-hidden="true"><span><kbd>↑</kbd><kbd>↓</kbd> move</span><span><kbd>↵</kbd> open</span><span><kbd>?</kbd> all keys</span></footer>
  <//>`;
}

/** @param {Hit[]} hits @returns {[string, [Hit, number][]][]} */
function grouped(hits) {
  const groups = /** @type {Map<string, [Hit, number][]>} */ (new Map());
  hits.forEach((hit, n) => groups.set(hit.group, [...(groups.get(hit.group) ?? []), [hit, n]]));
  return [...groups];
}

/** Commands with all typed words in their label. @param {string} text @returns {Hit[]} */
function matching(text) {
  const parts = text.toLowerCase().split(/\s+/).filter(Boolean);
  return commands.value
    .filter((one) => one.id !== "palette" && parts.every((part) => one.label.toLowerCase().includes(part)))
    .map((one) => ({ ...one, end: one.keys && html`${keyNames(one.keys).map((key) => html`<kbd>${key}</kbd> `)}` }));
}

/** Things by their id: each screen that has things is asked. @param {string} text @param {import("./shell.js").PageEntry[]} pages @param {AbortSignal} signal @returns {Promise<Hit[]>} */
async function lookUp(text, pages, signal) {
  if (!UUID.test(text)) return [];
  const id = text.toLowerCase();
  const asked = pages.map(async ({ name, label, icon, finds }) => {
    if (!finds) return [];
    const { data } = await get(finds[0] + id, { signal });
    return [{ id: `${name}-${id}`, label: data[finds[1]], end: data.status && words(data.status), icon, group: label, run: () => go(href(name, { open: id })) }];
  });
  const answers = await Promise.allSettled(asked);
  return answers.flatMap((one) => (one.status === "fulfilled" ? one.value : []));
}
