// @ts-check
// One order: its life cycle, facts, history, and the steps that may follow.

import { post, put } from "../core/api.js";
import { isAdmin, me, say } from "../core/app_state.js";
import { amount, brief, money, nameOf, shortened, words } from "../core/format.js";
import { useThing } from "../core/list.js";
import { go, href } from "../core/router.js";
import { html, useState } from "../core/view.js";
import { Confirm } from "../parts/dialog.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { Ago, CopyId, Exact, Failure, faultIn, Icon, Lines } from "../parts/ui.js";

const CYCLE = ["pending", "confirmed", "shipped", "delivered"];
const NAMES = /** @type {Record<string, string>} */ ({ pending: "Placed", confirmed: "Confirmed", shipped: "Shipped", delivered: "Delivered", returned: "Returned", cancelled: "Cancelled" });
// What an admin may do next; owners may only cancel. The service decides, and says in a 409 what it allows.
const NEXT = /** @type {Record<string, [string, string, string] | undefined>} */ ({
  pending: ["confirmed", "Confirm order", "Confirming"], confirmed: ["shipped", "Ship order", "Shipping"],
  shipped: ["delivered", "Mark as delivered", "Saving"], delivered: ["returned", "Take back", "Saving"],
});
const CANCELLABLE = ["pending", "confirmed"];

/** @param {{id: string, list: import("../core/list.js").List}} props */
export function OrderDrawer({ id, list }) {
  const order = useThing(`/orders/${id}`), history = useThing(`/orders/${id}/history`);
  const [busy, setBusy] = useState(""), [refused, setRefused] = useState(/** @type {any} */ (null)), [isAsking, setAsking] = useState(false);
  const known = list.rows.value?.find((row) => row.id === id), shown = order.data.value ?? known;
  /** @param {string} status */
  const step = async (status) => {
    setBusy(status);
    setRefused(null);
    try {
      const { data } = await put(`/orders/${id}`, { status }, { version: shown?.version });
      order.data.value = data;
      list.put(data);
      say(`${words(status)}: ${data.product_name}.`);
    } catch (error) {
      setRefused(error);
      order.load();
    }
    history.load();
    setBusy("");
    setAsking(false);
  };
  const footer = shown && hasActions(shown.status) && html`<${Actions} order=${shown} busy=${busy} onStep=${step} onCancel=${() => setAsking(true)} />`;
  return html`<${Drawer} title=${shown?.product_name ?? "Order"} noun="order" id=${id} rows=${list.rows.value} footer=${footer}>
      ${order.error.value && html`<${Failure} error=${order.error.value} retry=${order.load} />`}
      ${refused && html`<${Failure} error=${refused} unharmed=${refused.status === 412 ? "Somebody changed the order meanwhile. You now see its latest state." : "Nothing was changed."} />`}
      ${shown ? html`<${Content} order=${shown} history=${history} />` : !order.error.value && html`<${Lines} rows=${6} />`}
    <//>
    ${isAsking && shown && html`<${Confirm} title="Cancel this order?" isDanger isBusy=${Boolean(busy)} yes="Cancel order" no="Keep order"
      text=${html`<p><b>${shown.product_name}</b> for ${money(shown.total_price, shown.currency)} will not be delivered. This cannot be undone.</p>`}
      onYes=${() => step("cancelled")} onNo=${() => setAsking(false)} />`}`;
}

/** @param {string} status */
const hasActions = (status) => CANCELLABLE.includes(status) || Boolean(isAdmin.value && NEXT[status]);

/** @param {{order: any, busy: string, onStep: (status: string) => void, onCancel: () => void}} props */
function Actions({ order, busy, onStep, onCancel }) {
  const next = isAdmin.value ? NEXT[order.status] : undefined, mayCancel = CANCELLABLE.includes(order.status);
  return html`${next && html`<button class="btn primary" type="button" aria-busy=${String(busy === next[0])} onClick=${() => busy || onStep(next[0])}>${busy === next[0] ? next[2] : next[1]}</button>`}
    <span class="grow"></span>
    ${mayCancel && html`<button class="btn danger" type="button" onClick=${onCancel}>Cancel order</button>`}`;
}

/** @param {{order: any, history: any}} props */
function Content({ order, history }) {
  const steps = /** @type {any[] | null} */ (history.data.value);
  return html`<section aria-label="Life cycle"><${Cycle} status=${order.status} steps=${steps ?? []} placed=${order.created} /></section>
    <section><h3 class="vh">Facts</h3><${Facts} rows=${[
      ["Customer", html`<${Customer} id=${order.user_id} />`],
      ["Placed", html`<${Exact} at=${order.created} />`],
      ["Changed", order.updated !== order.created && html`<${Ago} at=${order.updated} ago />`],
      ["Id", html`<${CopyId} id=${order.id} what="the id of the order" />`],
    ]} /></section>
    <section><h3>Money</h3><${Money} order=${order} /><${Papers} key=${order.status} order=${order} /></section>
    <section><h3>History</h3>
      ${history.error.value ? html`<${Failure} error=${history.error.value} retry=${history.load} />` : steps ? html`<${Timeline} steps=${steps} />` : html`<${Lines} rows=${2} />`}</section>`;
}

/** The customer: "You", or for admins a name. @param {{id: string}} props */
function Customer({ id }) {
  const isMe = id === me.value?.id;
  const person = useThing(isMe || !isAdmin.value ? null : `/users/${id}`).data.value;
  if (isMe) return html`You`;
  if (!isAdmin.value) return html`${shortened(id)}`;
  return html`<a href=${href("orders", { user: id })}>${person ? nameOf(person) : shortened(id)}</a>`;
}

/** @param {{status: string, steps: any[], placed: string}} props */
function Cycle({ status, steps, placed }) {
  const off = ["cancelled", "returned"].includes(status) ? status : null;
  const times = Object.fromEntries(steps.map((one) => [one.status, one.timestamp]));
  const reached = off ? CYCLE.filter((one) => one === "pending" || times[one]) : CYCLE.slice(0, CYCLE.indexOf(status) + 1);
  const cycle = off ? [...reached, off] : CYCLE;
  const at = cycle.indexOf(status);
  return html`<ol class="steps">${cycle.map((one, n) => html`<li key=${one} class=${n < at ? "done" : n === at ? "now" : "next"} aria-current=${n === at ? "step" : undefined}>
    <${Icon} name=${n < at ? "s-delivered" : n > at ? "s-pending" : `s-${one}`} /><span>${NAMES[one]}</span>
    ${n <= at && html`<small>${brief(times[one] ?? (n === 0 ? placed : ""))}</small>`}</li>`)}</ol>`;
}

/** @param {{order: any}} props */
function Money({ order }) {
  const lines = order.lines?.length ? order.lines : null;
  return html`<table class="money"><caption class="vh">Money</caption><tbody>
    ${lines ? lines.map((/** @type {any} */ line) => html`<tr key=${line.sku}><td>${line.quantity} × ${line.name}</td><td>${amount(line.total, order.currency)}</td></tr>`)
      : html`<tr class="pre"><td>${order.quantity} × ${order.product_name}</td><td>${amount(order.total_price, order.currency)}</td></tr>`}
    <tr class="sum"><td>Total</td><td>${money(order.total_price, order.currency)}</td></tr></tbody></table>`;
}

const BILLABLE = ["confirmed", "shipped", "delivered"], CREDITABLE = ["cancelled", "returned"];

/** Issues the invoice, or the credit note of a cancelled or returned order. @param {{order: any}} props */
function Papers({ order }) {
  const [isBusy, setBusy] = useState(false), [error, setError] = useState(/** @type {any} */ (null));
  const isOff = CREDITABLE.includes(order.status), kind = isOff ? "credit-note" : "invoice", word = isOff ? "credit note" : "invoice";
  if (!isOff && !BILLABLE.includes(order.status)) return null;
  const issue = async () => {
    setBusy(true);
    setError(null);
    try {
      const { data } = await post(`/orders/${order.id}/${kind}`, undefined);
      say(`Issued ${word} ${data.number}.`);
      go(href("invoices", { open: data.id }));
    } catch (refused) {
      setError(refused);
    }
    setBusy(false);
  };
  if (error?.code === "already_invoiced") return html`<p class="muted" role="status">This order already has one. <a href=${`/orders/${order.id}/${kind}`} download>Download the ${word}</a></p>`;
  return html`<div class="stack tight">${error && html`<${Failure} error=${error} />`}
    <div class="btns"><button class="btn sm" type="button" aria-busy=${String(isBusy)} onClick=${() => isBusy || issue()}><${Icon} name="invoices" />Issue ${word}</button></div></div>`;
}

/** Newest first. @param {{steps: any[]}} props */
const Timeline = ({ steps }) => html`<ol class="timeline">${[...steps].reverse().map((one) => html`<li key=${one.timestamp + one.status}>
  <span><b>${NAMES[one.status] ?? words(one.status)}</b>${one.by === me.value?.id ? " by you" : ""}</span><span><${Ago} at=${one.timestamp} ago /></span>
  <small>${one.from_status ? `Was ${words(one.from_status).toLowerCase()}` : "The order was new"}</small></li>`)}</ol>`;
