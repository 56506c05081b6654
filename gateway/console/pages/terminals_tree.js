// @ts-check
// The files beside the shells: folders that open in place, and what can be added to them.

import { post, Refused, withQuery } from "../core/api.js";
import { say } from "../core/app_state.js";
import { useThing } from "../core/list.js";
import { go, hrefWith, place } from "../core/router.js";
import { html, signal, useEffect, useRef, useState } from "../core/view.js";
import { Dialog } from "../parts/dialog.js";
import { Form } from "../parts/form.js";
import { Failure, faultIn, Icon, Lines } from "../parts/ui.js";
import { changed, content } from "./terminals_files.js";

const ENTRIES_MAX = 1000;

/** The folder that new files go to: the one that was opened last. */
const target = signal("");

export function Tree() {
  const picker = useRef(/** @type {HTMLInputElement | null} */ (null)), making = place.value.query.make;
  const upload = async (/** @type {any} */ event) => {
    const files = /** @type {File[]} */ ([...event.currentTarget.files]), folder = target.value; // another may be opened meanwhile
    event.currentTarget.value = "";
    for (const file of files) {
      try {
        await content("PUT", joined(folder, file.name), { body: file, headers: { "If-None-Match": "*" } });
        say(`Uploaded ${file.name}.`);
      } catch (refused) {
        const isTaken = refused instanceof Refused && refused.status === 412;
        say(isTaken ? `${file.name} exists already. It was not changed.` : faultIn(refused), { isFault: true });
      }
    }
    changed.value += 1;
  };
  return html`<nav class="tree" aria-label="Files"><h2><span class="cutpath" title=${`~/${target.value}`}>~/${target.value}</span><span class="btns">
      <a class="btn quiet icon sm" href=${hrefWith({ make: "file" })} aria-label="New file" title="New file"><${Icon} name="plus" /></a>
      <button class="btn quiet icon sm" type="button" aria-label="Upload files" title="Upload files" onClick=${() => picker.current?.click()}><${Icon} name="upload" /></button>
      <button class="btn quiet icon sm" type="button" aria-label="Read the files again" title="Read the files again" onClick=${() => { changed.value += 1; }}><${Icon} name="refresh" /></button></span></h2>
    <input type="file" multiple hidden ref=${picker} onChange=${upload} aria-label="Files to upload" />
    <${Folder} path="" depth=${0} />
    ${making && html`<${NewEntry} />`}</nav>`;
}

/** @param {{path: string, depth: number}} props */
function Folder({ path, depth }) {
  const thing = useThing(withQuery("/terminal/files", { path, limit: ENTRIES_MAX })), version = changed.value, known = useRef(version);
  useEffect(() => {
    if (known.current !== version) thing.load();
    known.current = version;
  }, [version]);
  const rows = thing.data.value;
  if (!rows) return thing.error.value ? html`<${Failure} error=${thing.error.value} retry=${thing.load} />` : html`<${Lines} rows=${2} />`;
  if (!rows.length) return html`<p class="none">${depth ? "Empty" : "No files yet. What programs write into the home directory shows up here."}</p>`;
  const sorted = [...rows].sort((a, b) => Number(b.kind === "folder") - Number(a.kind === "folder"));
  return html`<ul>${sorted.map((/** @type {any} */ row) => html`<${Entry} key=${row.path} row=${row} depth=${depth} />`)}
    ${rows.length === ENTRIES_MAX && html`<li class="none">More than ${ENTRIES_MAX} entries: use a shell for the rest.</li>`}</ul>`;
}

/** @param {{row: any, depth: number}} props */
function Entry({ row, depth }) {
  const [isOpen, setOpen] = useState(false), inset = { paddingLeft: `${0.5 + Math.min(depth, 8) * 0.75}rem` };
  if (row.kind === "folder") {
    return html`<li><button class="f" type="button" aria-expanded=${String(isOpen)} style=${inset} onClick=${() => { setOpen(!isOpen); target.value = isOpen ? above(row.path) : row.path; }}>
      <${Icon} name=${isOpen ? "down" : "right"} class="tw" /><${Icon} name="files" /><span>${row.name}</span></button>
      ${isOpen && html`<${Folder} path=${row.path} depth=${depth + 1} />`}</li>`;
  }
  if (!row.is_exact || row.kind === "other") return html`<li><span class="f" style=${inset} title="Only a shell can use this"><span class="tw"></span><${Icon} name="file" /><span>${row.name}</span></span></li>`;
  return html`<li><a class="f" style=${inset} href=${hrefWith({ file: row.path })} aria-current=${place.value.query.file === row.path ? "page" : undefined}>
    <span class="tw"></span><${Icon} name=${row.kind === "link" ? "link" : "file"} /><span>${row.name}</span></a></li>`;
}

const FIELDS = [
  { name: "path", label: "Path", maxlength: 4000, autocomplete: "off", spellcheck: false, autofocus: true, help: "Below the home directory. Missing folders are made." },
  { name: "kind", label: "What it is", options: /** @type {[string, string][]} */ ([["file", "A file"], ["folder", "A folder"]]) },
];

function NewEntry() {
  const close = () => go(hrefWith({ make: "" }), { replace: true });
  const send = async (/** @type {Record<string, string>} */ values) => {
    const path = (values.path ?? "").trim().replace(/^[~/]+|\/+$/g, "");
    if (values.kind === "folder") await post("/terminal/files/folders", { path });
    else await content("PUT", path, { body: "", headers: { "If-None-Match": "*" } });
    changed.value += 1;
    go(hrefWith({ make: "", ...(values.kind === "folder" ? {} : { file: path }) }), { replace: true });
  };
  return html`<${Dialog} label="New file or folder" onClose=${close}><div class="in head"><h2>New file or folder</h2></div>
    <${Form} name="terminal.entry" fields=${FIELDS} initial=${{ path: target.value && `${target.value}/`, kind: "file" }} submit="Create" busy="Creating" away="Discard" send=${send} onAway=${close} /><//>`;
}

/** @param {string} folder @param {string} name */
const joined = (folder, name) => (folder ? `${folder}/${name}` : name);
/** @param {string} path */
const above = (path) => path.split("/").slice(0, -1).join("/");
