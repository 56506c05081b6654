// @ts-check
// Files that go with a message: each is uploaded as soon as it is chosen, and can be removed again.

import { del, post } from "../core/api.js";
import { html, useRef, useState } from "../core/view.js";
import { faultIn, Icon } from "./ui.js";

const FILES_MAX = 10;

/** @typedef {{id: string, name: string}} Attached */

/** @param {{files: Attached[], onChange: (files: Attached[]) => void}} props */
export function Attachments({ files, onChange }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [busy, setBusy] = useState(""), [fault, setFault] = useState("");
  const add = async () => {
    const chosen = [...(input.current?.files ?? [])].slice(0, FILES_MAX - files.length);
    let all = files;
    setFault("");
    for (const file of chosen) {
      setBusy(file.name);
      const form = new FormData();
      form.set("file", file);
      try {
        const { data } = await post("/files", form, { key: undefined });
        all = [...all, { id: data.id, name: data.name }];
        onChange(all);
      } catch (error) {
        setFault(`${file.name}: ${faultIn(error)}`);
      }
    }
    setBusy("");
    if (input.current) input.current.value = "";
  };
  /** @param {Attached} file */
  const remove = (file) => {
    onChange(files.filter((one) => one !== file));
    del(`/files/${file.id}`).catch(() => {}); // it stays among the person's files, where it can be deleted
  };
  return html`<div class="attach">
    ${files.map((file) => html`<span class="chip set" key=${file.id}><span class="in"><${Icon} name="clip" /><span class="name">${file.name}</span></span><button class="off" type="button" aria-label=${`Remove ${file.name}`} onClick=${() => remove(file)}><${Icon} name="x" /></button></span>`)}
    <input class="vh" type="file" multiple tabindex="-1" aria-label="Files to attach" ref=${input} onChange=${add} />
    ${files.length < FILES_MAX && html`<button class="btn sm" type="button" aria-busy=${String(Boolean(busy))} onClick=${() => busy || input.current?.click()}><${Icon} name="clip" />${busy ? `Uploading ${busy}` : "Attach a file"}</button>`}
    ${fault && html`<p class="err" role="alert"><${Icon} name="error" />${fault}</p>`}
  </div>`;
}
