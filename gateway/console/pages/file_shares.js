// @ts-check
// Links to a file, for people without an account. A link is shown once, when it is made.

import { del, post } from "../core/api.js";
import { say } from "../core/app_state.js";
import { counted } from "../core/format.js";
import { useThing } from "../core/list.js";
import { html, useState } from "../core/view.js";
import { Form } from "../parts/form.js";
import { Exact, Failure, faultIn, Icon, Lines } from "../parts/ui.js";

/** @type {import("../parts/form.js").Field[]} */
const FIELDS = [
  { name: "hours", label: "It works for", options: [["1", "An hour"], ["24", "A day"], ["168", "A week"], ["720", "30 days"]] },
  { name: "downloads_max", label: "At most this many downloads", inputmode: "numeric", autocomplete: "off", help: "Empty: any number." },
];

/** @param {{id: string}} props */
export function Shares({ id }) {
  const shares = useThing(`/files/${id}/shares`), [made, setMade] = useState(""), [isOpen, setOpen] = useState(false);
  /** @param {Record<string, string>} values @param {string} key */
  const send = async (values, key) => {
    const limit = values.downloads_max?.trim();
    const { data } = await post(`/files/${id}/shares`, { hours: Number(values.hours), ...(limit ? { downloads_max: /^\d+$/.test(limit) ? Number(limit) : limit } : {}) }, { key });
    setMade(data.url);
    setOpen(false);
    await shares.load();
  };
  /** @param {string} share */
  const revoke = async (share) => {
    try {
      await del(`/files/${id}/shares/${share}`);
      say("The link does not work any more.");
    } catch (error) {
      say(faultIn(error), { isFault: true });
    }
    setMade("");
    await shares.load();
  };
  const copy = () => navigator.clipboard?.writeText(made).then(() => say("Copied."), () => {});
  return html`<section><div class="sub"><h3>Links</h3>${!isOpen && html`<button class="btn sm" type="button" onClick=${() => setOpen(true)}><${Icon} name="link" />Make a link</button>`}</div>
    ${made && html`<div class="made"><label for="made-link">Copy the link now. It is not shown again.</label><div class="with"><input class="input mono" id="made-link" readonly value=${made} onFocus=${(/** @type {any} */ event) => event.currentTarget.select()} />
      <button type="button" aria-label="Copy the link" onClick=${copy}><${Icon} name="copy" /></button></div></div>`}
    ${isOpen && html`<div class="card share"><${Form} name=${`share-${id}`} fields=${FIELDS} initial=${{ hours: "24" }} submit="Make link" busy="Making" away="Discard" send=${send} onAway=${() => setOpen(false)} /></div>`}
    ${shares.error.value ? html`<${Failure} error=${shares.error.value} retry=${shares.load} />` : !shares.data.value ? html`<${Lines} rows=${1} />`
      : shares.data.value.length ? html`<ul class="rows links">${shares.data.value.map((/** @type {any} */ one) => html`<li key=${one.id}><span class="t">Until <${Exact} at=${one.expires} /><small>${counted(one.downloads, "download")}${one.downloads_max ? ` of at most ${one.downloads_max}` : ""}</small></span>
        <button class="btn sm" type="button" onClick=${() => revoke(one.id)}>Revoke</button></li>`)}</ul>` : !isOpen && html`<p class="muted">No links.</p>`}</section>`;
}
