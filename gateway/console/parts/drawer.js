// @ts-check
// The drawer beside a list: one thing, its facts and its actions. The address says which; Back closes it.

import { addCommands } from "../core/keys.js";
import { go, hrefWith } from "../core/router.js";
import { html, useEffect, useRef } from "../core/view.js";
import { Icon, isNarrow } from "./ui.js";

/** @param {{title: string, noun: string, id: string, rows?: {id: string}[] | null, footer?: any, children: any}} props */
export function Drawer({ title, noun, id, rows, footer, children }) {
  const self = useRef(/** @type {HTMLElement | null} */ (null));
  const index = rows?.findIndex((row) => row.id === id) ?? -1;
  const previous = index > 0 ? rows?.[index - 1].id : null, next = index >= 0 ? rows?.[index + 1]?.id : null;
  const close = hrefWith({ open: "" });
  useEffect(() => {
    const opener = document.activeElement;
    self.current?.focus({ preventScroll: true });
    return () => {
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus({ preventScroll: true });
      else document.getElementById("main")?.focus({ preventScroll: true });
    };
  }, []);
  useEffect(() => addCommands([
    { id: "drawer-close", label: `Close ${noun}`, keys: "Escape", group: "Here", icon: "x", run: () => go(close) },
    ...(previous ? [{ id: "drawer-previous", label: `Previous ${noun}`, keys: "[", group: "Here", icon: "up", run: () => go(hrefWith({ open: previous }), { replace: true }) }] : []),
    ...(next ? [{ id: "drawer-next", label: `Next ${noun}`, keys: "]", group: "Here", icon: "down", run: () => go(hrefWith({ open: next }), { replace: true }) }] : []),
  ]), [close, previous, next]);
  useEffect(() => {
    // On a phone the drawer is the page, so nothing behind it may take the focus.
    const main = document.getElementById("main");
    if (main) main.inert = isNarrow.value;
    return () => { if (main) main.inert = false; };
  }, [isNarrow.value]);
  return html`<aside class="drawer" aria-labelledby="drawer-title" tabindex="-1" ref=${self}>
    <header><h2 id="drawer-title">${title}</h2>
      <${Step} to=${previous} label=${`Previous ${noun}`} icon="up" />
      <${Step} to=${next} label=${`Next ${noun}`} icon="down" />
      <a class="btn quiet icon" href=${close} aria-label="Close"><${Icon} name="x" /></a></header>
    <div class="in">${children}</div>
    ${footer && html`<footer>${footer}</footer>`}
  </aside>`;
}

/** Walking through the list replaces the address, so that Back closes the drawer. @param {{to?: string | null, label: string, icon: string}} props */
const Step = ({ to, label, icon }) => (to
  ? html`<a class="btn quiet icon" href=${hrefWith({ open: to })} data-history="replace" aria-label=${label}><${Icon} name=${icon} /></a>`
  : html`<button class="btn quiet icon" type="button" disabled aria-label=${label}><${Icon} name=${icon} /></button>`);

/** @param {{rows: [string, any][]}} props */
export const Facts = ({ rows }) => html`<dl class="facts">${rows.filter(([, value]) => value || value === 0)
  .map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`;
