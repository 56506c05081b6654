// @ts-check
// Settings: those of the system for admins, and everybody's own. Sealed values are written here and never shown.

import { isAdmin } from "../core/app_state.js";
import { words } from "../core/format.js";
import { addCommands } from "../core/keys.js";
import { useList, useThing } from "../core/list.js";
import { go, hrefWith, place } from "../core/router.js";
import { html, useEffect } from "../core/view.js";
import { Table } from "../parts/table.js";
import { Ago, Empty, Failure, Icon, later, Lines, Page, State } from "../parts/ui.js";

const SettingDrawer = later(() => import("./setting_drawer.js"), "SettingDrawer"), SettingForm = later(() => import("./setting_form.js"), "SettingForm");

/** A setting is known by its key. @param {any} row */
const byKey = (row) => ({ ...row, id: row.key });

export default function Settings() {
  const { query } = place.value, isOwn = !isAdmin.value || query.tab === "own", path = isOwn ? "/settings/user" : "/settings/system";
  const list = useList(path, { shape: byKey });
  const known = useThing(isOwn ? null : "/settings/public");
  useEffect(() => addCommands([{ id: "setting-new", label: "Add a setting", keys: "n", group: "Here", icon: "plus", run: () => go(hrefWith({ do: "new", open: "" })) }]), []);
  const add = html`<a class=${`btn ${query.open ? "" : "primary"}`} href=${hrefWith({ do: "new", open: "" })}><${Icon} name="plus" />Add a setting</a>`;
  const onChange = () => Promise.all([list.load(), ...(isOwn ? [] : [known.load()])]);
  return html`<${Page} title="Settings" actions=${add}>
      ${isAdmin.value && html`<nav class="tabs" aria-label="Whose settings">${[["", "System"], ["own", "Yours"]].map(([tab, word]) => html`<a key=${tab} href=${hrefWith({ tab, open: "", do: "" })}
        aria-current=${(query.tab === "own") === (tab === "own") ? "page" : undefined}>${word}</a>`)}</nav>`}
      ${!isOwn && html`<${Known} known=${known} />`}
      <section class="stack mid" aria-label=${isOwn ? "Your settings" : "Stored settings"}>${!isOwn && html`<h2>Stored settings</h2>`}
        <${Table} caption=${isOwn ? "Your settings, newest first" : "Stored settings of the system, newest first"} columns=${COLUMNS} list=${list} noun="setting" empty=${isOwn ? NONE_OWN : NONE} /></section>
    <//>
    ${query.open && html`<${SettingDrawer} key=${path + query.open} path=${path} id=${query.open} list=${list} onChange=${onChange} />`}
    ${query.do === "new" && html`<${SettingForm} path=${path} onChange=${onChange} />`}`;
}

const NONE = html`<${Empty} icon="settings" title="No settings are stored"><p>The known settings have their defaults. Apps of yours may read others.</p><//>`;
const NONE_OWN = html`<${Empty} icon="settings" title="No settings of your own"><p>Apps that you use can keep their settings here, and you can add some yourself.</p><//>`;

/** A value as it is shown in one line. @param {{row: any}} props */
export const Value = ({ row }) => (row.is_sealed ? html`<${State} of="active" word="Sealed" />` : row.value === "" ? html`<span class="muted">Empty</span>` : row.value);

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { head: "Key", class: "c1 cut", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.key, do: "" })}>${row.key}</a>` },
  { head: "Value", class: "c3 cut", title: (row) => row.value, cell: (row) => html`<${Value} row=${row} />` },
  { head: "Type", class: "muted opt", cell: (row) => words(row.type) },
  { head: "Changed", class: "num muted nowrap c2", cell: (row) => html`<${Ago} at=${row.updated} />` },
];

/** The settings that the suite knows, with their values. @param {{known: any}} props */
function Known({ known }) {
  const rows = known.data.value;
  if (known.error.value && !rows) return html`<${Failure} error=${known.error.value} retry=${known.load} />`;
  if (!rows) return html`<${Lines} rows=${6} />`;
  return html`<section class="card"><header><h2>Known settings</h2></header><div class="rows">${rows.map((/** @type {any} */ row) => html`<a key=${row.key} href=${hrefWith({ open: row.key, do: "" })}>
    <span class="t">${row.description}<small class="muted">${row.key}</small></span><span class="e one" style=${{ maxWidth: "40%" }}><${Value} row=${row} /></span></a>`)}</div></section>`;
}
