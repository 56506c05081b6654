// @ts-check
// Files: one's own and the trash, with the quota, uploads by button or by dropping, and one file in the drawer.

import { withQuery } from "../core/api.js";
import { size } from "../core/bytes.js";
import { words } from "../core/format.js";
import { addCommands } from "../core/keys.js";
import { useList, useThing } from "../core/list.js";
import { hrefWith, place } from "../core/router.js";
import { onUploaded } from "../core/uploads.js";
import { html, useEffect, useRef, useState } from "../core/view.js";
import { upload } from "../parts/dock.js";
import { Search } from "../parts/search.js";
import { Chip, FilterMenu, NothingMatches, Table } from "../parts/table.js";
import { Ago, Empty, Icon, later, Page, State } from "../parts/ui.js";

const FileDrawer = later(() => import("./file_drawer.js"), "FileDrawer");
const KINDS = /** @type {Record<string, string>} */ ({ "image/*": "Images", "text/*": "Text", "application/pdf": "PDF", "video/*": "Video", "audio/*": "Audio" });
const NONE = { q: "", type: "", visibility: "", open: "" };

export default function Files() {
  const { query } = place.value, isTrash = query.view === "trash";
  const list = useList(isTrash ? "/files/trash" : withQuery("/files", { search: query.q, type: query.type, visibility: query.visibility }));
  const usage = useThing("/files/usage"), input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [isOver, setOver] = useState(false);
  useEffect(() => addCommands([{ id: "upload", label: "Upload files", keys: "n", group: "Here", icon: "upload", run: () => input.current?.click() }]), []);
  // A file uploaded here appears at once; a file that arrives in another way is announced.
  useEffect(() => onUploaded(async () => { usage.load(); await list.refresh(); list.showFresh(); }), [list]);
  useDrop(setOver);
  const actions = html`<button class=${`btn ${query.open ? "" : "primary"}`} type="button" onClick=${() => input.current?.click()}><${Icon} name="upload" />Upload files</button>
    <input class="vh" type="file" multiple tabindex="-1" aria-label="Files to upload" ref=${input} onChange=${() => { upload([...(input.current?.files ?? [])]); if (input.current) input.current.value = ""; }} />`;
  return html`<${Page} title="Files" actions=${actions}>
      <div class="stack mid"><${Quota} usage=${usage.data.value} />
        <${Filters} query=${query} isTrash=${isTrash} />
        <${Table} caption=${isTrash ? "Deleted files, newest first" : "Files, newest first"} columns=${isTrash ? TRASH : COLUMNS} list=${list} noun="file" empty=${nothing(query, isTrash)} /></div>
    <//>
    ${isOver && html`<div class="dropzone" aria-hidden="true"><p><${Icon} name="upload" />Drop the files to upload them</p></div>`}
    ${query.open && html`<${FileDrawer} key=${query.open} id=${query.open} list=${list} isTrash=${isTrash} onChange=${() => usage.load()} />`}`;
}

/** Files can be dropped anywhere on the page. @param {(isOver: boolean) => void} setOver */
function useDrop(setOver) {
  useEffect(() => {
    /** @param {DragEvent} event */
    const over = (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      setOver(true);
    };
    /** @param {DragEvent} event */
    const leave = (event) => { if (!event.relatedTarget) setOver(false); };
    /** @param {DragEvent} event */
    const drop = (event) => {
      if (!event.dataTransfer?.files.length) return;
      event.preventDefault();
      setOver(false);
      upload([...event.dataTransfer.files]);
    };
    addEventListener("dragover", over);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
    };
  }, []);
}

/** @param {{usage: any}} props */
function Quota({ usage }) {
  if (!usage) return html`<div class="quota"></div>`;
  const part = (usage.used + usage.reserved) / usage.limit, kind = part > 0.95 ? "bad" : part > 0.8 ? "warn" : "";
  return html`<div class="quota"><progress class=${kind} max=${usage.limit} value=${usage.used + usage.reserved} aria-label="Storage used"></progress>
    <small>${size(usage.used)} of ${size(usage.limit)} used${usage.reserved ? `, ${size(usage.reserved)} reserved by uploads` : ""}</small></div>`;
}

const name = { head: "Name", class: "c1 cut", cell: (/** @type {any} */ row) => html`<span class="with-icon"><${Icon} name="file" class="faint" /><a class="rowlink" href=${hrefWith({ open: row.id })}>${row.name}</a></span>` };
const kind = { head: "Type", class: "opt muted nowrap", cell: (/** @type {any} */ row) => row.mime_type };
const bytes = { head: "Size", class: "num c2 nowrap", cell: (/** @type {any} */ row) => size(row.size) };
/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [name, kind, bytes,
  { head: "Visibility", class: "c4", cell: (row) => (row.state !== "ready" ? html`<${State} of=${row.threat ? "refused" : "waiting"} word=${words(row.state)} />` : row.visibility === "public" ? html`<span class="badge info">Public</span>` : html`<span class="muted">Private</span>`) },
  { head: "Age", class: "num muted nowrap c3", cell: (row) => html`<${Ago} at=${row.created} />` },
];
/** @type {import("../parts/table.js").Column[]} */
const TRASH = [name, kind, bytes, { head: "Deleted", class: "num muted nowrap c3", cell: (row) => html`<${Ago} at=${row.trashed} />` }];

/** @param {{query: Record<string, string>, isTrash: boolean}} props */
const Filters = ({ query, isTrash }) => html`<div class="toolbar">
  <div class="seg" role="group" aria-label="Which"><a href=${hrefWith({ view: "", ...NONE })} aria-current=${isTrash ? undefined : "true"}>Files</a><a href=${hrefWith({ view: "trash", ...NONE })} aria-current=${isTrash ? "true" : undefined}>Trash</a></div>
  ${!isTrash && html`<${Search} label="Search files" placeholder="Part of the name" />
    ${query.type && html`<${Chip} name="Type" value=${KINDS[query.type] ?? query.type} without=${hrefWith({ type: "", open: "" })} />`}
    ${query.visibility && html`<${Chip} name="Visibility" value=${query.visibility} without=${hrefWith({ visibility: "", open: "" })} />`}
    <${FilterMenu} id="filter-type" label="Type" options=${Object.entries(KINDS).map(([code, word]) => ({ word, href: hrefWith({ type: code, open: "" }) }))} />
    <${FilterMenu} id="filter-visibility" label="Visibility" options=${["private", "public"].map((one) => ({ word: words(one), href: hrefWith({ visibility: one, open: "" }) }))} />`}
</div>`;

/** @param {Record<string, string>} query @param {boolean} isTrash */
function nothing(query, isTrash) {
  if (isTrash) return html`<${Empty} icon="trash" title="The trash is empty"><p>Deleted files wait here and can be restored.</p><//>`;
  const filters = [query.q && `“${query.q}” in its name`, query.type && `the type ${KINDS[query.type] ?? query.type}`, query.visibility && `the visibility ${query.visibility}`].filter(Boolean).join(" and ");
  if (filters) return html`<${NothingMatches} noun="files" filters=${filters} clear=${hrefWith(NONE)} />`;
  return html`<${Empty} icon="files" title="No files yet"><p>Drop files anywhere on this page, or choose them. An interrupted upload continues where it stopped.</p><//>`;
}
