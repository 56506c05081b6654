// @ts-check
// Notifications: what happened to one's own things, read and unread.

import { put, withQuery } from "../core/api.js";
import { say, unread } from "../core/app_state.js";
import { counted } from "../core/format.js";
import { addCommands } from "../core/keys.js";
import { useList } from "../core/list.js";
import { href, hrefWith, place } from "../core/router.js";
import { html, useEffect, useState } from "../core/view.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { NothingMatches, Table } from "../parts/table.js";
import { Ago, Empty, Exact, Failure, faultIn, Icon, Lines, Page } from "../parts/ui.js";

const GLYPHS = /** @type {Record<string, string>} */ ({ success: "check", info: "info", warning: "warn", error: "error" });
const COLOURS = /** @type {Record<string, string>} */ ({ warning: "warn", error: "bad" });

export default function Notifications() {
  const { query } = place.value;
  const list = useList(withQuery("/notifications", { unread: query.unread }));
  const [isBusy, setBusy] = useState(false);
  const markAll = async () => {
    setBusy(true);
    try {
      const { data } = await put("/notifications/read-all", undefined);
      unread.value = data.count;
      say(`Marked ${counted(data.marked, "notification")} as read.`);
      await list.load();
    } catch (error) {
      say(faultIn(error), { isFault: true });
    }
    setBusy(false);
  };
  useEffect(() => addCommands([{ id: "read-all", label: "Mark all notifications as read", group: "Here", icon: "check", run: markAll }]), [list]);
  const actions = Boolean(unread.value) && html`<button class="btn" type="button" aria-busy=${String(isBusy)} onClick=${() => isBusy || markAll()}><${Icon} name="check" />Mark all as read</button>`;
  return html`<${Page} title="Notifications" actions=${actions}>
      <div class="stack mid">
        <div class="toolbar"><div class="seg" role="group" aria-label="Which">
          <a href=${hrefWith({ unread: "", open: "" })} aria-current=${query.unread ? undefined : "true"}>All</a>
          <a href=${hrefWith({ unread: "true", open: "" })} aria-current=${query.unread ? "true" : undefined}>Unread</a></div></div>
        <${Table} caption="Notifications, newest first" columns=${COLUMNS} list=${list} noun="notification" empty=${nothing(query.unread)} />
      </div>
    <//>
    ${query.open && html`<${Notice} key=${query.open} id=${query.open} list=${list} />`}`;
}

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { head: "What", class: "c1 lead", cell: (row) => html`<span class="with-icon"><${Icon} name=${GLYPHS[row.severity] ?? "info"} class=${COLOURS[row.severity] ?? "faint"} />
    <a class=${`rowlink ${row.is_read ? "read" : ""}`} href=${hrefWith({ open: row.id })}>${row.title}</a></span>` },
  { head: "Details", class: "opt cut muted c3", cell: (row) => row.content },
  { head: "State", class: "c4 nowrap", cell: (row) => (row.is_read ? html`<span class="faint">Read</span>` : html`<span class="badge info">Unread</span>`) },
  { head: "Age", class: "num muted nowrap c2", cell: (row) => html`<${Ago} at=${row.created} />` },
];

/** @param {string | undefined} isUnread */
const nothing = (isUnread) => (isUnread
  ? html`<${NothingMatches} noun="notifications" filters="the state unread" clear=${hrefWith({ unread: "" })} />`
  : html`<${Empty} icon="bell" title="No notifications yet"><p>You are told here when an order changes, when a file is shared with you, and when a ticket is answered.</p><//>`);

/** @param {{id: string, list: import("../core/list.js").List}} props */
function Notice({ id, list }) {
  const [error, setError] = useState(/** @type {any} */ (null)), [shown, setShown] = useState(/** @type {any} */ (null));
  const row = list.rows.value?.find((one) => one.id === id) ?? shown;
  const read = async () => {
    setError(null);
    try {
      const { data } = await put(`/notifications/${id}/read`, undefined);
      setShown(data);
      list.put(data);
    } catch (refused) {
      setError(refused);
    }
  };
  useEffect(() => { read(); }, [id]);
  const order = row?.data?.order_id;
  return html`<${Drawer} title=${row?.title ?? "Notification"} noun="notification" id=${id} rows=${list.rows.value}
    footer=${order && html`<a class="btn" href=${href("orders", { open: order })}><${Icon} name="orders" />Show the order</a>`}>
    ${error && html`<${Failure} error=${error} retry=${read} />`}
    ${row ? html`<section><p class="said">${row.content}</p></section>
      <section><h3 class="vh">Facts</h3><${Facts} rows=${[["When", html`<${Exact} at=${row.created} />`], ["About", row.type], ["Read", row.read_at && html`<${Exact} at=${row.read_at} />`]]} /></section>` : !error && html`<${Lines} />`}
  <//>`;
}
