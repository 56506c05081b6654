// @ts-check
// The gateway at work, for admins: its state, routes, targets, limits, latest errors and backups. It is read, never changed.

import { now } from "../core/app_state.js";
import { age, counted } from "../core/format.js";
import { addCommands } from "../core/keys.js";
import { useThing } from "../core/list.js";
import { hrefWith, place } from "../core/router.js";
import { html, useEffect, useRef } from "../core/view.js";
import { Facts } from "../parts/drawer.js";
import { Ago, Failure, Icon, later, Lines, Page, State } from "../parts/ui.js";

const REFRESH_MS = 15_000;
const TABS = /** @type {Record<string, [string, any]>} */ ({
  status: ["Status", Status],
  routes: ["Routes", later(() => import("./gateway_routes.js"), "Routes")],
  targets: ["Targets", later(() => import("./gateway_lists.js"), "Targets")],
  limits: ["Limits", later(() => import("./gateway_lists.js"), "Limits")],
  errors: ["Errors", later(() => import("./gateway_lists.js"), "Errors")],
  backups: ["Backups", later(() => import("./gateway_backups.js"), "Backups")],
});

export default function Gateway() {
  const { query } = place.value, tab = query.tab in TABS ? query.tab : "status";
  const status = useThing("/gateway/status");
  useEffect(() => {
    const timer = setInterval(() => { if (!document.hidden) status.load(); }, REFRESH_MS);
    const remove = addCommands([{ id: "refresh", label: "Refresh", keys: "r", group: "Here", icon: "refresh", run: () => { status.load(); } }]);
    return () => {
      clearInterval(timer);
      remove();
    };
  }, []);
  const tabs = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => { tabs.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" }); }, [tab]); // on a phone, not all tabs fit
  const Tab = TABS[tab][1];
  return html`<${Page} title="Gateway" lead=${status.data.value && summary(status.data.value)}>
    <nav class="tabs" aria-label="Gateway" ref=${tabs}>${Object.entries(TABS).map(([name, [label]]) => html`<a key=${name} href=${hrefWith({ tab: name === "status" ? "" : name, q: "", code: "", route: "" })}
      aria-current=${name === tab ? "page" : undefined}>${label}</a>`)}</nav>
    <${Tab} key=${tab} status=${status} />
  <//>`;
}

/** @param {any} status */
function summary(status) {
  const oldest = status.workers.map((/** @type {any} */ one) => one.started).sort()[0];
  return `Version ${status.version}, ${counted(status.workers.length, "worker")}, up ${age(oldest, now.value)}.`;
}

/** @param {{status: any}} props */
function Status({ status }) {
  const found = status.data.value;
  if (!found) return status.error.value ? html`<${Failure} error=${status.error.value} retry=${status.load} />` : html`<${Lines} rows=${6} />`;
  const refused = found.workers.find((/** @type {any} */ one) => !one.reload.success);
  const load = (refused ?? found.workers[0])?.reload;
  return html`${status.error.value && html`<${Failure} error=${status.error.value} retry=${status.load} unharmed="What you see is from before this failure." />`}
    ${refused && html`<section class="banner bad" aria-label="Routes file"><${Icon} name="error" class="bad" /><div class="t"><b>The routes file has ${counted(load.faults.length, "fault")}.</b>
      The routes from before stay active. ${load.faults.map((/** @type {string} */ one) => html`<br /><code>${one}</code>`)}</div></section>`}
    <div class="cols main-aside"><section class="card"><header><h2>Workers</h2></header><${Workers} workers=${found.workers} /></section>
    <section class="card"><header><h2>Facts</h2></header><div class="body"><${Facts} rows=${[
      ["Environment", found.environment],
      ["Routes", found.routes],
      ["Routes file", html`<code>${found.routes_version}</code>, read <${Ago} at=${load.time} ago />`],
      ["Revocations", found.revocations === "current" ? "Current" : html`<${State} of="suspended" word="Not current: ended sessions may still pass" />`],
      ["Rate limits", `Counted ${found.limits}`],
    ]} /></div></section></div>`;
}

/** @param {{workers: any[]}} props */
const Workers = ({ workers }) => html`<div class="scroll"><table role="table" class="grid cards"><caption class="vh">Workers</caption>
  <thead role="rowgroup"><tr role="row"><th role="columnheader">Worker</th><th role="columnheader">State</th><th role="columnheader" class="num">Open</th><th role="columnheader" class="num opt">Process</th><th role="columnheader" class="num">Up</th></tr></thead>
  <tbody role="rowgroup">${workers.map((one) => html`<tr role="row" key=${one.worker}><td role="cell" class="c1">Worker ${one.worker}</td>
    <td role="cell" class="c2">${one.leaving ? html`<${State} of="waiting" word="Leaving" />` : one.ready ? html`<span class="muted">Ready</span>` : html`<${State} of="unreachable" word="Not ready" />`}</td>
    <td role="cell" class="num c3">${one.open}<span class="unit"> open</span></td><td role="cell" class="num muted opt">${one.pid}</td>
    <td role="cell" class="num muted c4"><${Ago} at=${one.started} /></td></tr>`)}</tbody></table></div>`;
