// @ts-check
// One file: a preview, its facts, the links to it, and what can be done with it. Deleting can be undone until the trash is emptied.

import { del, patch, post } from "../core/api.js";
import { say } from "../core/app_state.js";
import { size } from "../core/bytes.js";
import { words } from "../core/format.js";
import { useThing } from "../core/list.js";
import { go, hrefWith } from "../core/router.js";
import { html, useEffect, useState } from "../core/view.js";
import { Confirm, Dialog } from "../parts/dialog.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { Form } from "../parts/form.js";
import { CopyId, Exact, Failure, faultIn, Icon, Lines } from "../parts/ui.js";
import { Shares } from "./file_shares.js";

const IMAGES = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"], TEXT_MAX = 16_384;
/** @type {import("../parts/form.js").Field[]} */
const RENAME = [{ name: "name", label: "Name", maxlength: 255, autocomplete: "off", autofocus: true }];

/** @param {{id: string, list: import("../core/list.js").List, isTrash: boolean, onChange: () => void}} props */
export function FileDrawer({ id, list, isTrash, onChange }) {
  const known = list.rows.value?.find((row) => row.id === id), thing = useThing(isTrash ? null : `/files/${id}/metadata`);
  const [asked, setAsked] = useState(""), [error, setError] = useState(/** @type {any} */ (null)), [busy, setBusy] = useState("");
  const file = thing.data.value ?? known;
  /** @param {string} name @param {() => Promise<void>} work */
  const attempt = async (name, work) => {
    setBusy(name);
    setError(null);
    try {
      await work();
    } catch (refused) {
      setError(refused);
      thing.load();
    }
    setBusy("");
    setAsked("");
  };
  const gone = () => {
    list.remove(id);
    onChange();
    go(hrefWith({ open: "" }), { replace: true });
  };
  /** @param {any} changes @param {string} told */
  const save = async (changes, told) => {
    const before = file.visibility;
    const { data } = await patch(`/files/${id}`, changes, { version: file.version });
    thing.data.value = data;
    list.put(data);
    const undo = changes.visibility ? () => takeBack(() => patch(`/files/${id}`, { visibility: before }).then((reply) => { thing.data.value = reply.data; list.put(reply.data); })) : undefined;
    say(told, { undo });
  };
  const toTrash = () => attempt("delete", async () => {
    await del(`/files/${id}`);
    say(`${file.name} is in the trash.`, { undo: () => takeBack(async () => { await post(`/files/trash/${id}/restore`, undefined); await list.load(); onChange(); }) });
    gone();
  });
  const restore = () => attempt("restore", async () => { await post(`/files/trash/${id}/restore`, undefined); say(`${file.name} is restored.`); gone(); });
  const purge = () => attempt("purge", async () => { await del(`/files/trash/${id}`); say(`${file.name} is deleted for good.`); gone(); });
  const turn = () => attempt("visibility", () => save({ visibility: file.visibility === "public" ? "private" : "public" }, file.visibility === "public" ? `${file.name} is private.` : `${file.name} is public.`));
  const footer = file && (isTrash ? html`<button class="btn primary" type="button" aria-busy=${String(busy === "restore")} onClick=${() => busy || restore()}>Restore</button>
      <span class="grow"></span><button class="btn danger" type="button" onClick=${() => setAsked("purge")}>Delete for good</button>`
    : html`<a class="btn primary" href=${`/files/${id}`} download=${file.name}><${Icon} name="download" />Download</a>
      <button class="btn" type="button" onClick=${() => setAsked("rename")}>Rename</button>
      <button class="btn" type="button" aria-busy=${String(busy === "visibility")} onClick=${() => busy || turn()}>${file.visibility === "public" ? "Make private" : "Make public"}</button>
      <span class="grow"></span><button class="btn danger" type="button" aria-busy=${String(busy === "delete")} onClick=${() => busy || toTrash()}>Delete</button>`);
  return html`<${Drawer} title=${file?.name ?? "File"} noun="file" id=${id} rows=${list.rows.value} footer=${footer}>
      ${thing.error.value && html`<${Failure} error=${thing.error.value} retry=${thing.load} />`}
      ${error && html`<${Failure} error=${error} unharmed=${error.status === 412 ? "Somebody changed the file meanwhile; it is shown as it is now." : "Nothing was changed."} />`}
      ${file ? html`<${Content} file=${file} isTrash=${isTrash} />` : !thing.error.value && (isTrash && list.rows.value ? html`<p class="muted">This file is not in the trash.</p>` : html`<${Lines} rows=${6} />`)}
    <//>
    ${asked === "rename" && html`<${Dialog} label="Rename this file" onClose=${() => setAsked("")}><div class="in head"><h2>Rename this file</h2></div>
      <${Form} name=${`file-${id}`} fields=${RENAME} initial=${{ name: file.name }} submit="Rename file" busy="Renaming" away="Keep the name" onAway=${() => setAsked("")}
        send=${async (/** @type {any} */ values) => { await save({ name: values.name }, `It is now ${values.name}.`); setAsked(""); }} /><//>`}
    ${asked === "purge" && html`<${Confirm} title="Delete this file for good?" isDanger isBusy=${busy === "purge"} yes="Delete file" no="Keep file" onYes=${purge} onNo=${() => setAsked("")}
      text=${html`<p><b>${file.name}</b> cannot be restored afterwards.</p>`} />`}`;
}

/** @param {() => Promise<any>} work */
const takeBack = (work) => work().catch((error) => say(faultIn(error), { isFault: true }));

/** @param {{file: any, isTrash: boolean}} props */
function Content({ file, isTrash }) {
  const details = Object.entries(file.metadata ?? {});
  return html`${!isTrash && file.state === "ready" && html`<${Preview} file=${file} />`}
    <section><h3 class="vh">Facts</h3><${Facts} rows=${[
      ["Size", size(file.size)], ["Type", file.mime_type],
      ["State", file.state !== "ready" && html`<span class=${file.threat ? "bad" : "warn"}>${words(file.state)}${file.threat ? `: ${file.threat}` : ""}</span>`],
      ["Visibility", words(file.visibility)],
      ["Uploaded", html`<${Exact} at=${file.created} />`], ["Deleted", file.trashed && html`<${Exact} at=${file.trashed} />`],
      ...details.map(([name, value]) => /** @type {[string, any]} */ ([words(name), typeof value === "string" ? value : JSON.stringify(value)])),
      ["SHA-256", html`<${CopyId} id=${file.sha256} what="the SHA-256 of the content" />`],
      ["Id", html`<${CopyId} id=${file.id} what="the id of the file" />`],
    ]} /></section>
    ${!isTrash && html`<${Shares} id=${file.id} />`}`;
}

/** Pictures, and the beginning of texts. @param {{file: any}} props */
function Preview({ file }) {
  const path = `/files/${file.id}?inline=true`, isText = file.mime_type.startsWith("text/") || file.mime_type === "application/json";
  const [text, setText] = useState(/** @type {string | null} */ (null));
  useEffect(() => {
    if (!isText || !file.size) return undefined;
    const abort = new AbortController();
    fetch(path, { headers: { Range: `bytes=0-${TEXT_MAX - 1}` }, signal: abort.signal }).then(async (response) => { if (response.ok) setText(await response.text()); }).catch(() => {});
    return () => abort.abort();
  }, [file.id, file.sha256]);
  if (IMAGES.includes(file.mime_type)) return html`<section class="preview"><h3 class="vh">Preview</h3><img src=${path} alt=${`Preview of ${file.name}`} loading="lazy" /></section>`;
  if (text !== null) return html`<section><h3 class="vh">Preview</h3><pre class="box preview" tabindex="0">${text}${file.size > TEXT_MAX ? "\n…" : ""}</pre></section>`;
  return null;
}
