// @ts-check
// The bar of tabs, and what can be done with the shell in view.

import { go, hrefWith } from "../core/router.js";
import { html, useState } from "../core/view.js";
import { Dialog } from "../parts/dialog.js";
import { Form } from "../parts/form.js";
import { Icon } from "../parts/ui.js";

/** The name that the person chose, else the title that the program set. @param {string} tab @param {Record<string, string>} names @param {Record<string, import("./terminals.js").View>} views */
export const titleOf = (tab, names, views) => names[tab] || views[tab]?.title || `Shell ${tab}`;

/**
 * @param {{tabs: string[], names: Record<string, string>, active: string, views: Record<string, any>, isFiles: boolean, isRead: boolean, isFull: boolean,
 *   onAdd: () => void, onClose: (tab: string) => void, onCopy: () => void, onPaste: () => void, onRead: () => void}} props
 */
export function TabBar({ tabs, names, active, views, isFiles, isRead, isFull, onAdd, onClose, onCopy, onPaste, onRead }) {
  return html`<div class="termbar">
    <nav class="termtabs" aria-label="Terminals">${tabs.map((tab) => {
      const title = titleOf(tab, names, views);
      return html`<div class=${`termtab ${tab === active ? "on" : ""}`} key=${tab}>
        <a href=${hrefWith({ tab, file: undefined })} aria-current=${tab === active ? "page" : undefined} title=${title}><${Icon} name="terminal" /><span>${title}</span></a>
        <button class="btn quiet icon sm" type="button" aria-label=${`Close ${title}`} onClick=${() => onClose(tab)}><${Icon} name="x" /></button></div>`;
    })}</nav>
    <div class="btns">
      ${!isFull && html`<button class="btn quiet icon" type="button" aria-label="New shell in a new tab" onClick=${onAdd}><${Icon} name="plus" /></button>`}
      <a class=${`btn quiet icon ${isFiles ? "on" : ""}`} href=${hrefWith({ files: isFiles ? "" : "yes", file: undefined })} aria-label=${isFiles ? "Hide files" : "Show files"} title=${isFiles ? "Hide files" : "Show files"}><${Icon} name="files" /></a>
      <${More} isRead=${isRead} onCopy=${onCopy} onPaste=${onPaste} onRead=${onRead} />
    </div></div>`;
}

/** @param {{isRead: boolean, onCopy: () => void, onPaste: () => void, onRead: () => void}} props */
function More({ isRead, onCopy, onPaste, onRead }) {
  const [isOpen, setOpen] = useState(false);
  /** @param {() => void} run */
  const pick = (run) => () => { document.getElementById("term-more")?.hidePopover(); run(); };
  return html`<button class="btn quiet icon" type="button" popovertarget="term-more" aria-label="More"><${Icon} name="more" /></button>
    <div class="menu at" id="term-more" popover="auto" onBeforeToggle=${(/** @type {any} */ event) => setOpen(event.newState === "open")}>${isOpen && html`
      <button type="button" onClick=${pick(onCopy)}><${Icon} name="copy" />Copy selection<kbd>Ctrl Shift C</kbd></button>
      <button type="button" onClick=${pick(onPaste)}><${Icon} name="clip" />Paste<kbd>Ctrl Shift V</kbd></button><hr />
      <a href=${hrefWith({ do: "rename" })} onClick=${pick(() => {})}><${Icon} name="terminal" />Rename tab</a>
      <button type="button" aria-pressed=${String(isRead)} onClick=${pick(onRead)}><${Icon} name="eye" />${isRead ? "Stop reading aloud" : "Read aloud for screen readers"}</button>`}</div>`;
}

const FIELDS = [{ name: "name", label: "Name", help: "Empty: the title that the program sets.", maxlength: 64, autocomplete: "off", autofocus: true }];

/** @param {{tab: string, name: string, send: (name: string) => Promise<void>}} props */
export function RenameTab({ tab, name, send }) {
  const close = () => go(hrefWith({ do: "" }), { replace: true });
  return html`<${Dialog} label="Rename tab" onClose=${close}><div class="in head"><h2>Rename tab</h2></div>
    <${Form} name=${`terminal.${tab}`} fields=${FIELDS} initial=${{ name }} submit="Rename tab" busy="Renaming" away="Keep name" onAway=${close}
      send=${async (/** @type {Record<string, string>} */ values) => { await send(values.name.trim()); close(); }} /><//>`;
}
