// @ts-check
// One record of the audit log, with everything that is known of it.

import { isAdmin, me } from "../core/app_state.js";
import { count, nameOf, shortened, words } from "../core/format.js";
import { useThing } from "../core/list.js";
import { hrefWith } from "../core/router.js";
import { html } from "../core/view.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { CopyId, Exact, later, Lines, State } from "../parts/ui.js";

const ProofCheck = later(() => import("./audit_check.js"), "ProofCheck");

/** @param {{id: string, list: import("../core/list.js").List}} props */
export function AuditDrawer({ id, list }) {
  const record = list.rows.value?.find((row) => row.id === id);
  const title = record ? words(record.action) : "Record";
  return html`<${Drawer} title=${title} noun="record" id=${id} rows=${list.rows.value}>
    ${record ? html`<${Content} record=${record} />`
      : list.rows.value ? html`<p class="muted">This record is not among those that are loaded. Load more rows, or remove a filter.</p>` : html`<${Lines} rows=${6} />`}
  <//>`;
}

/** @param {{record: any}} props */
function Content({ record }) {
  const details = Object.entries(record.metadata ?? {});
  const narrow = (/** @type {Record<string, any>} */ filter) => hrefWith({ action: "", outcome: "", since: "", user: "", resource: "", open: "", ...filter });
  return html`<section><h3 class="vh">Facts</h3><${Facts} rows=${[
      ["Outcome", html`<${State} of=${record.outcome} word=${`${words(record.outcome)}, ${record.status}`} />`],
      ["By", html`<${Person} record=${record} />`],
      ["When", html`<${Exact} at=${record.timestamp} />`],
      ["Service", record.service],
      ["Thing", record.resource && html`<${CopyId} id=${record.resource} what="the id of the thing" />`],
      ["Address", record.ip],
      ["Program", record.user_agent],
    ]} /></section>
    <section><h3>Details</h3>${details.length
      ? html`<dl class="facts">${details.map(([name, value]) => html`<dt>${words(name)}</dt><dd class="mono">${typeof value === "string" ? value : JSON.stringify(value)}</dd>`)}</dl>`
      : html`<p class="muted">${record.metadata ? "The record has no details." : "The details were erased with the account."}</p>`}</section>
    <section><h3>Where to look next</h3><div class="btns">
      ${record.resource && html`<a class="btn sm" href=${narrow({ resource: record.resource })}>Records of this thing</a>`}
      ${record.user_id && isAdmin.value && html`<a class="btn sm" href=${narrow({ user: record.user_id })}>Records of this account</a>`}
      <a class="btn sm" href=${narrow({ action: record.action })}>The same action</a></div></section>
    <section><h3>Proof</h3><${ProofCheck} record=${record} /></section>
    <section><h3>Trace</h3><${Facts} rows=${[
      ["Record", count(record.seq)],
      ["Request", record.request_id && html`<${CopyId} id=${record.request_id} what="the request id" />`],
      ["Trace", record.trace_id && html`<${CopyId} id=${record.trace_id} what="the trace id" />`],
    ]} /></section>`;
}

/** @param {{record: any}} props */
function Person({ record }) {
  const isMe = record.user_id === me.value?.id;
  const person = useThing(record.user_id && !isMe && isAdmin.value ? `/users/${record.user_id}` : null).data.value;
  if (!record.user_id) return html`${record.actor || "Nobody"}`;
  return html`${isMe ? "You" : person ? nameOf(person) : shortened(record.user_id)}`;
}
