// @ts-check
// The undelivered events of one service: what waits to be sent, and what it received and has not applied.

import { withQuery } from "../core/api.js";
import { counted } from "../core/format.js";
import { useList, useThing } from "../core/list.js";
import { go, href, hrefWith, place } from "../core/router.js";
import { html, useState } from "../core/view.js";
import { Chosen } from "../parts/bulk.js";
import { PickLink, usePicks } from "../parts/pick.js";
import { Table } from "../parts/table.js";
import { Ago, Empty, Failure, Icon, later, Page } from "../parts/ui.js";
import { upTo } from "./events.js";

const EventDrawer = later(() => import("./event_drawer.js"), "EventDrawer"), EventDecision = later(() => import("./event_decision.js"), "EventDecision");

/** @param {{service: string}} props */
export function EventList({ service }) {
  const { query } = place.value;
  return query.to ? html`<${UnsentList} key=${query.to} service=${service} to=${query.to} />` : html`<${ReceivedList} service=${service} />`;
}

/** Who is to receive an event. @param {string} to */
const receiver = (to) => (to === "*" ? "the broker" : to);

/** @param {{service: string, to: string}} props */
function UnsentList({ service, to }) {
  // Not refreshed by itself: each look is recorded, which is an event that waits as well.
  const list = useList(withQuery(`/events/${service}/unsent`, { subscriber: to }), { refreshes: false });
  return html`<${Page} title=${`Events for ${receiver(to)}`} lead=${html`<a href=${href("events", { service })}>Events of ${service}</a>`}
      actions=${html`<button class="btn" type="button" onClick=${() => list.load()}><${Icon} name="refresh" />Refresh</button>`}>
    <${Table} caption=${`Events of ${service} that wait for ${receiver(to)}, in the order in which they are sent`} columns=${UNSENT} list=${list} noun="event" empty=${NOTHING_UNSENT} />
  <//>`;
}

/** @param {{service: string}} props */
function ReceivedList({ service }) {
  const { query } = place.value, state = query.state === "parked" ? "parked" : "dead";
  const summary = useThing(`/events/${service}`), list = useList(withQuery(`/events/${service}/undelivered`, { state }));
  const found = summary.data.value, isDead = state === "dead", picks = usePicks(list, (row) => `${row.topic} ${row.id}`, isDead);
  const [asked, setAsked] = useState(/** @type {{action: string, ids: string[]} | null} */ (null));
  /** @param {string} action */
  const ask = (action) => setAsked({ action, ids: (list.rows.value ?? []).map((row) => row.id).filter((id) => picks.ids.has(id)) });
  const onDone = () => {
    setAsked(null);
    picks.set([]);
    if (query.open) go(hrefWith({ open: "" }), { replace: true });
    list.load();
    summary.load();
  };
  return html`<${Page} title=${`Events of ${service}`} lead=${html`<a href=${href("events")}>All services</a>`}>
      ${found && html`<${Waiting} waiting=${found.waiting} />`}
      ${summary.error.value && html`<${Failure} error=${summary.error.value} retry=${() => { summary.load(); list.load(); }} />`}
      <div class="stack mid"><div class="toolbar"><div class="seg" role="group" aria-label="State">
          ${[["dead", "Dead"], ["parked", "Retried"]].map(([name, word]) => html`<a key=${name} href=${hrefWith({ state: name === "dead" ? "" : name, open: "", pick: "" })}
            aria-current=${name === state ? "true" : undefined}>${word}${found ? ` ${upTo(found[name])}` : ""}</a>`)}</div>
        ${isDead && html`<${PickLink} picks=${picks} />`}</div>
        ${picks.isOn && html`<section class="banner" aria-label="Chosen rows"><${Chosen} picks=${picks} list=${list} noun="event">
          <button class="btn sm" type="button" onClick=${() => ask("replay")}>Replay events</button>
          <button class="btn sm danger" type="button" onClick=${() => ask("drop")}>Drop events</button><//></section>`}
        ${!(summary.error.value && list.error.value) && html`<${Table} caption=${`${isDead ? "Dead events" : "Events that are retried"} of ${service}, newest first`} columns=${picks.into(COLUMNS)}
          list=${list} noun="event" empty=${isDead ? NOTHING_DEAD : NOTHING_PARKED} />`}</div>
    <//>
    ${query.open && html`<${EventDrawer} key=${query.open} id=${query.open} service=${service} list=${list} onAsk=${setAsked} />`}
    ${asked && html`<${EventDecision} service=${service} ...${asked} onDone=${onDone} onAway=${() => setAsked(null)} />`}`;
}

const NOTHING_DEAD = html`<${Empty} icon="check" title="No dead events"><p>An event is dead once eight attempts to apply it have failed. It waits here for 30 days.</p><//>`;
const NOTHING_UNSENT = html`<${Empty} icon="check" title="Nothing is waiting"><p>All events for this receiver have arrived.</p><//>`;
const NOTHING_PARKED = html`<${Empty} icon="check" title="Nothing to retry"><p>An event that cannot be applied is retried with growing pauses, over about nine minutes.</p><//>`;

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { head: "Event", class: "c1 nowrap", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.id })}>${row.topic}</a>` },
  { head: "Reason", class: "c3 cut", title: (row) => row.reason, cell: (row) => row.reason || "–" },
  { head: "Key", class: "cut mono muted opt", title: (row) => row.key, cell: (row) => row.key },
  { head: "Attempts", class: "num c4", cell: (row) => html`${row.attempts}<span class="unit"> attempt${row.attempts === 1 ? "" : "s"}</span>` },
  { head: "Age", class: "num muted nowrap c2", cell: (row) => html`<${Ago} at=${row.received} />` },
];

/** @type {import("../parts/table.js").Column[]} */
const UNSENT = [
  { head: "Event", class: "c1 nowrap", cell: (row) => row.topic },
  { head: "Last error", class: "c3 cut", title: (row) => row.last_error, cell: (row) => row.last_error || "–" },
  { head: "Key", class: "cut mono muted opt", title: (row) => row.key, cell: (row) => row.key },
  { head: "Attempts", class: "num c4", cell: (row) => html`${row.attempts}<span class="unit"> attempt${row.attempts === 1 ? "" : "s"}</span>` },
  { head: "Age", class: "num muted nowrap c2", cell: (row) => html`<${Ago} at=${row.created} />` },
];

/** What this service has not delivered yet. @param {{waiting: any[]}} props */
function Waiting({ waiting }) {
  const late = waiting.filter((one) => one.number > 0);
  if (!late.length) return html`<p class="muted">Nothing is waiting to be sent.</p>`;
  return html`<section class="card"><header><h2>Waiting to be sent</h2></header><div class="rows">${late.map((one) => html`<a key=${one.subscriber} href=${hrefWith({ to: one.subscriber, state: "", open: "", pick: "" })}>
    <span class="t">${counted(one.number, "event")} for ${receiver(one.subscriber)}${one.last_error && html`<small class="muted">${one.last_error}</small>`}</span>
    <span class="e muted">oldest <${Ago} at=${one.oldest} ago /></span></a>`)}</div></section>`;
}
