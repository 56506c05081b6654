// @ts-check
// A search field whose text is in the address.

import { go, hrefWith, place } from "../core/router.js";
import { html, useEffect, useState } from "../core/view.js";
import { Icon } from "./ui.js";

const TYPING_MS = 250;

/** The search waits until the typing pauses; each search replaces the last one in the history. @param {{label: string, placeholder: string, name?: string}} props */
export function Search({ label, placeholder, name = "q" }) {
  const wanted = place.value.query[name] ?? "";
  const [typed, setTyped] = useState(wanted);
  useEffect(() => {
    if (typed.trim() === wanted) return undefined;
    const timer = setTimeout(() => go(hrefWith({ [name]: typed.trim(), open: "" }), { replace: true }), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  // "Clear filters", or a step back, empties the field.
  useEffect(() => { if (typed.trim() !== wanted) setTyped(wanted); }, [wanted]);
  return html`<div class="search" role="search"><${Icon} name="search" /><input class="input" type="search" aria-label=${label} placeholder=${placeholder} maxlength="100" value=${typed}
    onInput=${(/** @type {any} */ event) => setTyped(event.currentTarget.value)} /></div>`;
}
