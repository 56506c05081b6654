// @ts-check
// Tickets: the list with its filters, one conversation in the drawer, and the form for a new ticket.

import { withQuery } from "../core/api.js";
import { me } from "../core/app_state.js";
import { words } from "../core/format.js";
import { addCommands } from "../core/keys.js";
import { useList } from "../core/list.js";
import { go, hrefWith, place } from "../core/router.js";
import { html, useEffect } from "../core/view.js";
import { PickLink, usePicks } from "../parts/pick.js";
import { Search } from "../parts/search.js";
import { Chip, FilterMenu, NothingMatches, Table } from "../parts/table.js";
import { Ago, Empty, Icon, later, Page, State } from "../parts/ui.js";

const TicketDrawer = later(() => import("./ticket_drawer.js"), "TicketDrawer"), NewTicket = later(() => import("./ticket_form.js"), "NewTicket");
const TicketsBulk = later(() => import("./tickets_bulk.js"), "TicketsBulk");
const STATES = ["open", "in_progress", "waiting", "resolved", "closed"], PRIORITIES = ["urgent", "high", "medium", "low"];
const NONE = { q: "", status: "", priority: "", overdue: "", assigned: "", tag: "", open: "" };
const COLOURS = /** @type {Record<string, string>} */ ({ urgent: "bad", high: "warn" });

export default function Tickets() {
  const { query } = place.value;
  const list = useList(withQuery("/tickets", { search: query.q, status: query.status, priority: query.priority, overdue: query.overdue, tag: query.tag, assigned_to: query.assigned && me.value?.id }));
  // Only staff see how many internal notes a ticket has.
  const isStaff = Boolean(list.rows.value?.some((row) => row.note_count !== null)) || me.value?.role === "admin";
  const picks = usePicks(list, (row) => row.subject, isStaff);
  useEffect(() => addCommands([{ id: "ticket-new", label: "Open a ticket", keys: "n", group: "Here", icon: "plus", run: () => go(hrefWith({ do: "new" })) }]), []);
  return html`<${Page} title="Tickets" actions=${html`<a class=${`btn ${query.open ? "" : "primary"}`} href=${hrefWith({ do: "new" })}><${Icon} name="plus" />Open a ticket</a>`}>
      <div class="stack mid"><${Filters} query=${query} isStaff=${isStaff} picks=${picks} />
        ${picks.isOn && html`<${TicketsBulk} picks=${picks} list=${list} />`}
        <${Table} caption="Tickets, newest first" columns=${picks.into(COLUMNS)} list=${list} noun="ticket" empty=${nothing(query)} /></div>
    <//>
    ${query.open && html`<${TicketDrawer} key=${query.open} id=${query.open} list=${list} />`}
    ${query.do === "new" && html`<${NewTicket} list=${list} />`}`;
}

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { head: "Subject", class: "c1 cut", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.id, do: "" })}>${row.subject}</a>` },
  { head: "Number", class: "opt mono muted nowrap", cell: (row) => row.number },
  { head: "Priority", class: "c3", cell: (row) => (COLOURS[row.priority] ? html`<span class=${`badge ${COLOURS[row.priority]}`}>${words(row.priority)}</span>` : html`<span class="muted">${words(row.priority)}</span>`) },
  { head: "State", class: "c4 nowrap", cell: (row) => html`<${State} of=${row.status} />${row.is_overdue && html` <span class="badge bad">Overdue</span>`}` },
  { head: "Replies", class: "num opt", cell: (row) => row.reply_count },
  { head: "Age", class: "num muted nowrap c2", cell: (row) => html`<${Ago} at=${row.created} />` },
];

/** @param {{query: Record<string, string>, isStaff: boolean, picks: import("../parts/pick.js").Picks}} props */
const Filters = ({ query, isStaff, picks }) => html`<div class="toolbar"><${Search} label="Search tickets" placeholder="Number, subject or text" />
  ${query.status && html`<${Chip} name="State" value=${words(query.status)} without=${hrefWith({ status: "", open: "" })} />`}
  ${query.priority && html`<${Chip} name="Priority" value=${words(query.priority)} without=${hrefWith({ priority: "", open: "" })} />`}
  ${query.overdue && html`<${Chip} name="Due" value="overdue" without=${hrefWith({ overdue: "", open: "" })} />`}
  ${query.assigned && html`<${Chip} name="Assigned to" value="you" without=${hrefWith({ assigned: "", open: "" })} />`}
  ${query.tag && html`<${Chip} name="Tag" value=${query.tag} without=${hrefWith({ tag: "", open: "" })} />`}
  <${FilterMenu} id="filter-state" label="State" options=${STATES.map((one) => ({ word: words(one), href: hrefWith({ status: one, open: "" }) }))} />
  <${FilterMenu} id="filter-priority" label="Priority" options=${PRIORITIES.map((one) => ({ word: words(one), href: hrefWith({ priority: one, open: "" }) }))} />
  ${!query.overdue && html`<a class="chip add" href=${hrefWith({ overdue: "true", open: "" })}><${Icon} name="plus" />Overdue</a>`}
  ${isStaff && !query.assigned && html`<a class="chip add" href=${hrefWith({ assigned: "me", open: "" })}><${Icon} name="plus" />Assigned to you</a>`}
  ${isStaff && html`<${PickLink} picks=${picks} />`}
</div>`;

/** @param {Record<string, string>} query */
function nothing(query) {
  const filters = [query.q && `“${query.q}” in it`, query.status && `the state ${words(query.status).toLowerCase()}`, query.priority && `the priority ${query.priority}`,
    query.overdue && "a date that has passed", query.assigned && "you as its assignee", query.tag && `the tag ${query.tag}`].filter(Boolean).join(" and ");
  if (filters) return html`<${NothingMatches} noun="tickets" filters=${filters} clear=${hrefWith(NONE)} />`;
  return html`<${Empty} icon="tickets" title="No tickets yet"><p>Ask for help in a ticket. You are told when somebody answers.</p>
    <div class="btns"><a class="btn" href=${hrefWith({ do: "new" })}>Open the first ticket</a></div><//>`;
}
