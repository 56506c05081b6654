// @ts-check
// The routes at work, and why a request takes one of them: nothing is sent.

import { post } from "../core/api.js";
import { count, words } from "../core/format.js";
import { go, hrefWith, place } from "../core/router.js";
import { html, useEffect, useState } from "../core/view.js";
import { Facts } from "../parts/drawer.js";
import { Search } from "../parts/search.js";
import { NothingMatches, Table } from "../parts/table.js";
import { Empty, Failure, Icon, State } from "../parts/ui.js";
import { useWhole } from "./gateway_rows.js";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const ROLES = [["", "without a token"], ["user", "as a user"], ["admin", "as an admin"]];
const OUTCOMES = /** @type {Record<string, [string, string]>} */ ({ forwarded: ["success", "Forwarded"], refused: ["refused", "Refused"], own: ["open", "The gateway itself responds"] });
const KIB = 1024;

export function Routes() {
  const { q = "" } = place.value.query;
  const list = useWhole("/gateway/routes", (data) => data.routes.map((/** @type {any} */ one) => ({ ...one, id: one.name })).filter((/** @type {any} */ one) => matches(one, q)), [q]);
  const empty = q ? html`<${NothingMatches} noun="routes" filters=${`“${q}” in its path, target or role`} clear=${hrefWith({ q: "" })} />` : html`<${Empty} icon="gateway" title="No routes"><p>The routes file has no route.</p><//>`;
  return html`<div class="stack"><${Explain} />
    <section class="stack mid" aria-label="Routes at work"><div class="toolbar"><${Search} label="Filter routes" placeholder="Path, target or role" /></div>
      <${Table} caption="Routes at work, in the order of the file" columns=${COLUMNS} list=${list} noun="route" empty=${empty} /></section></div>`;
}

/** @param {any} route @param {string} text */
const matches = (route, text) => [route.path, route.name, route.auth, ...route.targets, ...route.roles, ...route.hosts].some((one) => one.toLowerCase().includes(text.toLowerCase()));

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { head: "Path", class: "c1 mono", cell: (row) => html`${row.path}${row.exact && html`<span class="muted" title="Only this path, nothing below it"> exactly</span>`}` },
  { head: "Target", class: "c3 mono muted nowrap", cell: (row) => html`${row.targets[0]?.replace(/^https?:\/\//, "") ?? "–"}${row.targets.length > 1 ? ` +${row.targets.length - 1}` : ""}` },
  { head: "Who may", class: "c2 nowrap", cell: (row) => html`<${Who} route=${row} />` },
  { head: "Methods", class: "muted opt", cell: (row) => row.methods.filter((/** @type {string} */ one) => one !== "HEAD").join(" ") },
  { head: "Rate", class: "nowrap opt2", cell: (row) => row.rate_limits.map((/** @type {any} */ one) => `${count(one.count)} in ${one.seconds} s by ${one.key}`).join(", ") || "–" },
  { head: "Body", class: "num nowrap c4", cell: (row) => size(row.body_max) },
];

/** @param {{route: any}} props */
function Who({ route }) {
  if (route.roles.length) return html`<span class="badge line"><${Icon} name="lock" />${route.roles.join(", ")}</span>`;
  if (route.auth === "none") return html`<span class="badge line">Everybody</span>`;
  return html`<span class="muted">${route.auth === "optional" ? "With or without a token" : "Any account"}${route.api_keys ? ", or a key" : ""}</span>`;
}

/** @param {number} bytes */
function size(bytes) {
  const [unit, per] = bytes >= KIB ** 3 ? ["GiB", KIB ** 3] : bytes >= KIB ** 2 ? ["MiB", KIB ** 2] : ["KiB", KIB];
  return `${count(Math.round((bytes / Number(per)) * 10) / 10)} ${unit}`;
}

/** Steps as facts; the lines that the service would receive stand together. @param {{name: string, text: string}[]} steps @returns {[string, any][]} */
function factsOf(steps) {
  const sent = steps.filter((one) => one.name === "sent").map((one) => one.text);
  const facts = steps.filter((one) => one.name !== "sent").map((one) => /** @type {[string, any]} */ ([words(one.name), one.text]));
  return sent.length ? [...facts, ["Sent", html`<span class="mono">${sent.map((line, n) => html`${n > 0 && html`<br />`}${line}`)}</span>`]] : facts;
}

/** The request is in the address, so that an explanation can be sent to somebody. */
function Explain() {
  const { query } = place.value;
  const [asked, setAsked] = useState({ method: query.method ?? "GET", target: query.target ?? "", role: query.role ?? "" });
  const [found, setFound] = useState(/** @type {any} */ (null)), [error, setError] = useState(/** @type {any} */ (null)), [isBusy, setBusy] = useState(false);
  useEffect(() => { if (query.target) run(asked); }, []);
  /** @param {typeof asked} request */
  const run = async (request) => {
    setBusy(true);
    setError(null);
    try {
      setFound((await post("/gateway/explain", { method: request.method, target: request.target.trim(), role: request.role || null })).data);
    } catch (refused) {
      setFound(null);
      setError(refused);
    } finally {
      setBusy(false);
    }
  };
  /** @param {SubmitEvent} event */
  const onSubmit = (event) => {
    event.preventDefault();
    if (isBusy) return;
    go(hrefWith({ ...asked, method: asked.method === "GET" ? "" : asked.method }), { replace: true });
    run(asked);
  };
  /** @param {string} name */
  const set = (name) => (/** @type {any} */ event) => setAsked({ ...asked, [name]: event.currentTarget.value });
  const fault = error?.errors?.find((/** @type {any} */ one) => one.field === "target");
  return html`<section class="card"><header><h2>Which route takes a request</h2></header><div class="body stack mid">
    <form class="toolbar" onSubmit=${onSubmit} noValidate>
      <select class="input" style=${{ width: "auto" }} aria-label="Method" value=${asked.method} onChange=${set("method")}>${METHODS.map((one) => html`<option value=${one} selected=${one === asked.method}>${one}</option>`)}</select>
      <div class="search grow"><${Icon} name="gateway" /><input class="input mono" aria-label="Path" placeholder="/orders/7" maxlength="2000" autocomplete="off" spellcheck="false" value=${asked.target} onInput=${set("target")}
        aria-invalid=${fault ? "true" : undefined} aria-describedby=${fault ? "explain-fault" : undefined} /></div>
      <select class="input" style=${{ width: "auto" }} aria-label="As whom" value=${asked.role} onChange=${set("role")}>${ROLES.map(([role, word]) => html`<option value=${role} selected=${role === asked.role}>${word}</option>`)}</select>
      <button class="btn" type="submit" aria-busy=${String(isBusy)}>${isBusy ? "Explaining" : "Explain"}</button></form>
    ${fault ? html`<p class="err" id="explain-fault" role="alert"><${Icon} name="error" />The path ${fault.message}.</p>` : error && html`<${Failure} error=${error} unharmed="Nothing was sent." retry=${() => run(asked)} />`}
    <div aria-live="polite">${found && html`<div class="stack mid"><p><${State} of=${OUTCOMES[found.outcome][0]} word=${OUTCOMES[found.outcome][1]} /> <span class="muted">${found.result.replace(/^forwarded /, "")}</span></p>
      <${Facts} rows=${factsOf(found.steps)} /></div>`}</div>
  </div></section>`;
}
