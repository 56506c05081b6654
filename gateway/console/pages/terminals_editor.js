// @ts-check
// A plain editor for one text file of the workspace.

import { del, get, post } from "../core/api.js";
import { draft, say } from "../core/app_state.js";
import { go, hrefWith } from "../core/router.js";
import { html, useEffect, useMemo, useRef, useState } from "../core/view.js";
import { Failure, Icon, Lines } from "../parts/ui.js";
import { addressOf, changed, save, textOf, versionOf } from "./terminals_files.js";

/** @param {{path: string}} props */
export function Editor({ path }) {
  const kept = useMemo(() => draft(`terminal.file.${path}`), [path]), area = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const [file, setFile] = useState(/** @type {import("./terminals_files.js").TextFile | string | null} */ (null));
  const [text, setText] = useState(""), [error, setError] = useState(/** @type {any} */ (null)), [isBusy, setBusy] = useState(false);
  const away = hrefWith({ file: undefined }), isText = file !== null && typeof file !== "string", isChanged = isText && text !== file.text;
  /** Read the file; what was typed before and not saved comes back. @param {boolean} isFresh */
  const load = async (isFresh) => {
    setError(null);
    if (isFresh) kept.forget();
    try {
      const found = await textOf(path), typed = kept.read();
      setFile(typeof found !== "string" && typed.etag ? { ...found, etag: typed.etag } : found);
      if (typeof found !== "string") setText(typed.text ?? found.text);
    } catch (refused) {
      setError(refused);
    }
  };
  useEffect(() => { load(false); }, [path]);
  useEffect(() => { if (isText) area.current?.focus(); }, [isText]);
  /** @param {(file: import("./terminals_files.js").TextFile) => Promise<any>} [before] */
  const keep = async (before) => {
    if (!isText || isBusy) return;
    setBusy(true);
    setError(null);
    try {
      const saved = await save(path, before ? await before(file) : file, text);
      setFile(saved);
      const typed = area.current?.value ?? kept.read().text ?? text;
      if (typed === text) kept.forget();
      else kept.write({ text: typed, etag: saved.etag }); // typed while the file was being saved
      changed.value += 1;
      say(`Saved ${nameOf(path)}.`);
    } catch (refused) {
      setError(refused);
    }
    setBusy(false);
  };
  const onInput = (/** @type {any} */ event) => {
    setText(event.currentTarget.value);
    if (isText) kept.write({ text: event.currentTarget.value, etag: file.etag });
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "s") return;
    event.preventDefault();
    keep();
  };
  return html`<section class="editor" aria-label=${path}><header><h2 title=${path}>${path}${isChanged && html`<span class="muted"> · not saved</span>`}</h2>
      <div class="btns">${isText && html`<button class=${`btn sm ${isChanged ? "primary" : ""}`} type="button" aria-busy=${String(isBusy)} onClick=${() => keep()}>${isBusy ? "Saving" : "Save file"}</button>`}
        <a class="btn quiet icon sm" href=${addressOf(path)} download=${nameOf(path)} aria-label="Download" title="Download"><${Icon} name="download" /></a>
        <button class="btn quiet icon sm" type="button" aria-label="Delete file" title="Delete file" onClick=${() => remove(path, away, setError)}><${Icon} name="trash" /></button>
        <a class="btn quiet icon sm" href=${away} aria-label="Close file" title="Close file"><${Icon} name="x" /></a></div></header>
    ${error && (error.status === 412 ? html`<div class="banner warn" role="alert"><${Icon} name="warn" class="warn" /><div class="t"><b>The file was changed meanwhile.</b> What you typed is still here, and nothing was saved.</div>
        <div class="btns"><button class="btn sm" type="button" onClick=${() => load(true)}>Show the file as it is</button>
          <button class="btn sm" type="button" onClick=${() => keep(async (old) => ({ ...old, etag: await versionOf(path) }))}>Save mine over it</button></div></div>`
      : html`<${Failure} error=${error} retry=${isText ? undefined : () => load(false)} unharmed=${isText ? "What you typed is still here." : ""} />`)}
    ${isText ? html`<textarea class="mono" ref=${area} aria-label=${`Content of ${path}`} spellcheck="false" autocapitalize="off" value=${text} onInput=${onInput} onKeyDown=${onKeyDown}></textarea>`
      : typeof file === "string" ? html`<div class="empty"><${Icon} name="file" /><h2>This file cannot be edited here</h2><p>${file}</p><div class="btns"><a class="btn" href=${addressOf(path)} download=${nameOf(path)}>Download file</a></div></div>`
      : !error && html`<div class="page"><${Lines} /></div>`}</section>`;
}

/** Move the file to the trash; Undo brings it back. @param {string} path @param {string} away @param {(error: any) => void} onError */
async function remove(path, away, onError) {
  try {
    await del(`/terminal/files?${new URLSearchParams({ path })}`);
  } catch (refused) {
    onError(refused);
    return;
  }
  changed.value += 1;
  go(away);
  say(`Moved ${nameOf(path)} to the trash.`, { undo: () => restore(path) });
}

/** @param {string} path */
async function restore(path) {
  try {
    const { data } = await get("/terminal/files/trash?limit=50");
    await post(`/terminal/files/trash/${data.find((/** @type {any} */ one) => one.path === path).id}/restore`, undefined);
    changed.value += 1;
    say(`${nameOf(path)} is back.`);
  } catch {
    say(`${nameOf(path)} is still in the trash of the terminal service.`, { isFault: true });
  }
}

/** @param {string} path */
const nameOf = (path) => path.slice(path.lastIndexOf("/") + 1);
