// @ts-check
// The dashboard, by role: a few figures that lead to the lists behind them, what needs a person, and what happened.

import { isAdmin, me, onNews } from "../core/app_state.js";
import { count, money, nameOf, words } from "../core/format.js";
import { useThing } from "../core/list.js";
import { href } from "../core/router.js";
import { html, useEffect, useState } from "../core/view.js";
import { Ago, Empty, Failure, Icon, Later, Lines, Page, State } from "../parts/ui.js";

const AWAY = "gatehouse.first_steps", FEW = 5; // orders and files: a suite that has no more is new
const COUNTED_MAX = 10_000, REFRESH_MS = 60_000, ROWS = 6;
const IS_READING = /^(LIST|SHOW|COUNT|FOLLOW|VERIFY|PROVE|DOWNLOAD|OPEN|MARK)_/;

/** @typedef {{section: string, name: string, figure: (numbers: Record<string, number>) => number, note: (numbers: Record<string, number>) => string, to?: string, isForAdmins?: boolean}} Tile */

/** @returns {Tile[]} */
const tiles = () => [
  { section: "orders", name: isAdmin.value ? "Pending orders" : "Your pending orders", figure: (n) => n.pending, note: (n) => `${upTo(n.confirmed)} confirmed, ${upTo(n.shipped)} shipped`, to: href("orders", { status: "pending" }) },
  { section: "notifications", name: isAdmin.value ? "Mails waiting" : "Unread notifications", figure: (n) => n.unread ?? n.mails_queued, note: (n) => `${upTo(n.total)} notifications in all`, to: isAdmin.value ? undefined : href("notifications", { unread: "true" }) },
  { section: "tickets", name: "Open tickets", figure: (n) => n.open + n.in_progress, note: (n) => (n.overdue ? `${upTo(n.overdue)} overdue` : `${upTo(n.waiting)} waiting for an answer`) },
  { section: "files", name: isAdmin.value ? "Files" : "Your files", figure: (n) => n.private + n.public, note: (n) => `${upTo(n.public)} public, ${upTo(n.trash)} in the trash` },
  { section: "terminal", name: isAdmin.value ? "Open terminals" : "Your open terminals", figure: (n) => n.open, note: (n) => (n.boxes_running === undefined ? "Shells in the browser" : `${upTo(n.boxes_running)} boxes run`) },
  { section: "inventory", name: "WorkSpaces", figure: (n) => n.workspaces, note: (n) => `${upTo(n.available)} available, ${upTo(n.error)} in error` },
];

/** Numbers are counted up to a limit, which the figure then says. @param {number} [number] */
const upTo = (number) => (number === undefined ? "–" : number >= COUNTED_MAX ? `${count(COUNTED_MAX)}+` : count(number));

export default function Dashboard() {
  const summary = useThing("/dashboard/summary"), orders = useThing(`/orders?limit=${ROWS}`);
  const trail = useThing(`/audit/logs?limit=8${isAdmin.value ? "" : `&user_id=${me.value?.id}`}`), health = useThing(isAdmin.value ? "/health" : null);
  useEffect(() => {
    const again = () => { if (!document.hidden) [summary, orders, health].forEach((one) => one.load()); };
    const timer = setInterval(again, REFRESH_MS), quiet = onNews(again);
    return () => {
      clearInterval(timer);
      quiet();
    };
  }, []);
  return html`<${Page} title="Dashboard">
    <${Needs} summary=${summary.data.value} health=${health.data.value} />
    ${isAdmin.value && html`<${FirstSteps} sections=${summary.data.value?.sections} />`}
    <${Tiles} summary=${summary} />
    <div class="cols main-aside"><div class="stack">
      <${Recent} orders=${orders} />
      ${isAdmin.value && html`<${Services} health=${health} />`}
    </div><div class="stack"><${Activity} trail=${trail} /></div></div>
  <//>`;
}

/** Leads the admin of a new suite to what the suite lacks, until this hint is put away in this browser. @param {{sections: any}} props */
function FirstSteps({ sections }) {
  const [isAway, setAway] = useState(() => kept() === "away"), isNew = sections?.orders?.total < FEW && sections.files?.private + sections.files?.public < FEW;
  const away = () => {
    setAway(true);
    kept("away");
  };
  return isNew && !isAway && html`<section class="banner info" aria-label="First steps"><${Icon} name="info" class="accent" /><div class="t"><b>This suite is new.</b> Six steps show what it can do.</div>
    <div class="btns"><a class="btn sm" href=${href("start")}>Show first steps</a><button class="btn sm quiet" type="button" onClick=${away}>Put away</button></div></section>`;
}

/** @param {string} [value] */
function kept(value) {
  try {
    if (value) localStorage.setItem(AWAY, value);
    return localStorage.getItem(AWAY);
  } catch {
    return null; // storage is switched off
  }
}

/** What needs a person. @param {{summary: any, health: any}} props */
function Needs({ summary, health }) {
  const down = Object.entries(health?.services ?? {}).filter(([, one]) => /** @type {any} */ (one).status !== "healthy").map(([name]) => name);
  const missing = down.length ? down : summary?.unavailable ?? [];
  const overdue = summary?.sections.tickets?.overdue;
  return html`${missing.length > 0 && html`<section class="banner bad" aria-label="Needs attention"><${Icon} name="error" class="bad" />
      <div class="t"><b>${missing.join(", ")} ${missing.length === 1 ? "does" : "do"} not respond.</b> Everything else works; their figures are left out until they are back.</div></section>`}
    ${overdue > 0 && html`<section class="banner warn" aria-label="Needs you"><${Icon} name="clock" class="warn" />
      <div class="t"><b>${upTo(overdue)} ${overdue === 1 ? "ticket is" : "tickets are"} overdue.</b> Their owners have waited longer than was promised.</div></section>`}`;
}

/** @param {{summary: any}} props */
function Tiles({ summary }) {
  const sections = summary.data.value?.sections;
  if (summary.error.value && !sections) return html`<${Failure} error=${summary.error.value} retry=${summary.load} />`;
  if (!sections) return html`<${Later}><section class="tiles" aria-busy="true">${[1, 2, 3, 4].map(() => html`<div class="tile"><span class="skel w7"></span><span class="skel big"></span><span class="skel w9"></span></div>`)}</section><//>`;
  return html`<section class="tiles" aria-label="Figures">${tiles().filter((one) => sections[one.section]).map((one) => {
    const numbers = sections[one.section], inside = html`<span class="name">${one.name}</span><span class="fig">${upTo(one.figure(numbers))}</span><span class="note">${one.note(numbers)}</span>`;
    return one.to ? html`<a class="tile" key=${one.section} href=${one.to}>${inside}</a>` : html`<div class="tile" key=${one.section}>${inside}</div>`;
  })}</section>`;
}

/** @param {{orders: any}} props */
function Recent({ orders }) {
  const rows = orders.data.value;
  return html`<section class="card"><header><h2>${isAdmin.value ? "Newest orders" : "Your newest orders"}</h2><a href=${href("orders")}>All orders</a></header>
    ${orders.error.value && !rows ? html`<div class="body"><${Failure} error=${orders.error.value} retry=${orders.load} /></div>`
      : !rows ? html`<div class="body"><${Lines} /></div>`
      : !rows.length ? html`<${Empty} icon="orders" title="No orders yet"><div class="btns"><a class="btn" href=${href("orders", { do: "new" })}>Place the first order</a></div><//>`
      : html`<div class="rows">${rows.map((/** @type {any} */ row) => html`<a key=${row.id} href=${href("orders", { open: row.id })}>
          <span class="t one">${row.product_name}</span><span class="wide-only muted e">${money(row.total_price, row.currency)}</span><span class="fixed"><${State} of=${row.status} /></span><span class="e muted short"><${Ago} at=${row.created} /></span></a>`)}</div>`}
  </section>`;
}

/** Unhealthy services first. @param {{health: any}} props */
function Services({ health }) {
  const services = health.data.value && Object.entries(health.data.value.services)
    .sort(([, a], [, b]) => Number(a.status === "healthy") - Number(b.status === "healthy"));
  return html`<section class="card"><header><h2>Services</h2></header>
    ${health.error.value && !services ? html`<div class="body"><${Failure} error=${health.error.value} retry=${health.load} /></div>`
      : !services ? html`<div class="body"><${Lines} /></div>`
      : html`<div class="scroll"><table role="table" class="grid"><caption class="vh">Services and their health</caption>
        <thead role="rowgroup"><tr role="row"><th role="columnheader">Service</th><th role="columnheader">State</th><th role="columnheader" class="num">Response, ms</th></tr></thead>
        <tbody role="rowgroup">${services.map((/** @type {[string, any]} */ [name, one]) => html`<tr role="row" key=${name}><td role="cell">${name}</td>
          <td role="cell">${one.status === "healthy" ? html`<span class="state"><span class="dot"></span>Responds</span>` : html`<${State} of="unreachable" />`}</td>
          <td role="cell" class="num">${one.status === "healthy" ? count(Math.round(one.ms)) : "–"}</td></tr>`)}</tbody></table></div>`}
  </section>`;
}

/** Changes only; records of reading are left out. @param {{trail: any}} props */
function Activity({ trail }) {
  const rows = trail.data.value?.filter((/** @type {any} */ one) => !IS_READING.test(one.action)).slice(0, ROWS);
  return html`<section class="card"><header><h2>Just now</h2><a href=${href("audit")}>Audit</a></header>
    ${trail.error.value && !rows ? html`<div class="body"><${Failure} error=${trail.error.value} retry=${trail.load} /></div>`
      : !rows ? html`<div class="body"><${Lines} /></div>`
      : !rows.length ? html`<p class="empty">No change among the newest records.</p>`
      : html`<div class="rows">${rows.map((/** @type {any} */ one) => html`<div key=${one.id}><${Icon} name=${one.outcome === "refused" ? "error" : "check"} class=${one.outcome === "refused" ? "bad" : ""} />
          <span class="t">${words(one.action)}<small>${one.outcome === "refused" ? `Refused with ${one.status}, ` : ""}<${Ago} at=${one.timestamp} ago />${one.user_id === me.value?.id ? `, ${nameOf(me.value ?? {})}` : ""}</small></span></div>`)}</div>`}
  </section>`;
}
