// @ts-check
// The backups that the gateway knows: when the newest was taken, and all of them.

import { now } from "../core/app_state.js";
import { size } from "../core/bytes.js";
import { age } from "../core/format.js";
import { html } from "../core/view.js";
import { Table } from "../parts/table.js";
import { Ago, Empty, Exact, Icon } from "../parts/ui.js";
import { useWhole } from "./gateway_rows.js";

const LATE_MS = 26 * 3600 * 1000; // as `gatehouse doctor` sees it

export function Backups() {
  const list = useWhole("/gateway/backups", (data) => data.backups.map((/** @type {any} */ one) => ({ ...one, id: one.name })));
  const isKnown = list.data.value?.known, newest = list.rows.value?.[0];
  const empty = isKnown ? html`<${Empty} icon="files" title="No backups yet"><p>Take one with <code>gatehouse backup</code>, or every night with BACKUP_SCHEDULE.</p><//>`
    : html`<${Empty} icon="files" title="The gateway knows no folder with backups"><p>Set BACKUP_DIR for it. In containers, mount the folder into the gateway.</p><//>`;
  return html`${newest && now.value - Date.parse(newest.taken) > LATE_MS && html`<section class="banner warn" role="status"><${Icon} name="clock" class="warn" />
      <div class="t"><b>The newest backup is ${age(newest.taken, now.value)} old.</b> Changes since then would be lost.</div></section>`}
    <${Table} caption="Backups, newest first" columns=${COLUMNS} list=${list} noun="backup" empty=${empty} />`;
}

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { head: "Taken", class: "c1 nowrap", cell: (row) => html`<${Exact} at=${row.taken} />` },
  { head: "File", class: "c3 cut mono muted", cell: (row) => row.name },
  { head: "Size", class: "num c4", cell: (row) => size(row.size) },
  { head: "Age", class: "num muted nowrap c2", cell: (row) => html`<${Ago} at=${row.taken} />` },
];
