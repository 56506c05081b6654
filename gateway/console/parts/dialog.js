// @ts-check
// Dialogs: a decision that blocks, with at most one field; and a form of a few fields in a drawer-like dialog.

import { html, useEffect, useRef } from "../core/view.js";

/** Opens when it is put into the page; calls `onClose` when it is closed in any way. @param {{label: string, class?: string, onClose: () => void, children: any}} props */
export function Dialog({ label, class: kind = "", onClose, children }) {
  const self = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const dialog = self.current;
    const opener = document.activeElement;
    dialog?.showModal();
    return () => {
      dialog?.close();
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus({ preventScroll: true });
    };
  }, []);
  /** @param {MouseEvent} event */
  const onClick = (event) => { if (event.target === self.current) onClose(); };
  return html`<dialog ref=${self} class=${kind} aria-label=${label} onClose=${onClose} onClick=${onClick}>${children}</dialog>`;
}

/** @param {{title: string, text: any, yes: string, no: string, isDanger?: boolean, isBusy?: boolean, onYes: () => void, onNo: () => void}} props */
export const Confirm = ({ title, text, yes, no, isDanger, isBusy, onYes, onNo }) => html`<${Dialog} label=${title} onClose=${onNo}>
  <div class="in"><h2>${title}</h2><div>${text}</div></div>
  <footer><button class="btn" type="button" onClick=${onNo}>${no}</button>
    <button class=${`btn ${isDanger ? "danger fill" : "primary"}`} type="button" aria-busy=${String(Boolean(isBusy))} onClick=${() => isBusy || onYes()}>${yes}</button></footer>
<//>`;
