// @ts-check
// One review: what it says and about what, who reported it, and the decision. The decision needs If-Match, so that the second of two moderators learns that the first has decided.

import { put } from "../core/api.js";
import { say } from "../core/app_state.js";
import { nameOf, shortened } from "../core/format.js";
import { addCommands } from "../core/keys.js";
import { useThing } from "../core/list.js";
import { go, href, hrefWith } from "../core/router.js";
import { html, useEffect, useState } from "../core/view.js";
import { Dialog } from "../parts/dialog.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { Form } from "../parts/form.js";
import { Ago, CopyId, Exact, Failure, faultIn, Lines, State } from "../parts/ui.js";

const DECISIONS = /** @type {Record<string, string[]>} */ ({ pending: ["approved", "rejected"], approved: ["hidden", "rejected"], rejected: ["approved"], hidden: ["approved", "rejected"] });
const VERBS = /** @type {Record<string, string>} */ ({ approved: "Approve review", rejected: "Reject review", hidden: "Hide review" });
const DONE = /** @type {Record<string, string>} */ ({ approved: "Approved", rejected: "Rejected", hidden: "Hidden" });
/** The author sees the reason. @type {import("../parts/form.js").Field[]} */
const FIELDS = [{ name: "reason", label: "Reason", rows: 3, maxlength: 500, help: "The author sees it.", autofocus: true }];

/** @param {{id: string, list: import("../core/list.js").List}} props */
export function ReviewDrawer({ id, list }) {
  const thing = useThing(`/reviews/${id}`);
  const [busy, setBusy] = useState(""), [refused, setRefused] = useState(/** @type {any} */ (null)), [isAsking, setAsking] = useState(false);
  const review = thing.data.value ?? list.rows.value?.find((row) => row.id === id);
  const decisions = DECISIONS[review?.status] ?? [];
  /** @param {string} status @param {string} [reason] */
  const decide = async (status, reason) => {
    const before = review.status;
    setBusy(status);
    setRefused(null);
    try {
      const { data } = await put(`/reviews/${id}/moderate`, { status, reason: reason || null }, { version: review.version });
      thing.data.value = data;
      say(`${DONE[status]}: ${data.title}.`, { undo: DECISIONS[status].includes(before) ? () => takeBack(data, before, list) : undefined });
      openNext(id, list);
    } catch (error) {
      setRefused(error);
      thing.load();
    }
    setBusy("");
    setAsking(false);
  };
  const ask = (/** @type {string} */ status) => (busy ? undefined : status === "rejected" ? setAsking(true) : decide(status));
  useEffect(() => addCommands([
    ...(decisions.includes("approved") ? [{ id: "review-approve", label: "Approve this review", keys: "a", group: "Here", icon: "check", run: () => { ask("approved"); } }] : []),
    ...(decisions.includes("rejected") ? [{ id: "review-reject", label: "Reject this review", keys: "x", group: "Here", icon: "x", run: () => { ask("rejected"); } }] : []),
  ]), [review?.version, review?.status, busy]);
  const footer = review && html`${decisions.filter((one) => one !== "rejected").map((one) => html`<button key=${one} class=${`btn ${one === "approved" ? "primary" : ""}`} type="button" aria-busy=${String(busy === one)} onClick=${() => ask(one)}>${VERBS[one]}</button>`)}
    <span class="grow"></span>${decisions.includes("rejected") && html`<button class="btn danger" type="button" onClick=${() => ask("rejected")}>${VERBS.rejected}</button>`}`;
  return html`<${Drawer} title=${review?.title ?? "Review"} noun="review" id=${id} rows=${list.rows.value} footer=${footer}>
      ${thing.error.value && html`<${Failure} error=${thing.error.value} retry=${thing.load} />`}
      ${refused && html`<${Failure} error=${refused} unharmed=${refused.status === 412 ? "Somebody decided meanwhile; the review is shown as it is now." : "Nothing was changed."} />`}
      ${review ? html`<${Content} review=${review} />` : !thing.error.value && html`<${Lines} rows=${6} />`}
    <//>
    ${isAsking && html`<${Dialog} label="Reject this review?" onClose=${() => setAsking(false)}><div class="in head"><h2>Reject this review?</h2><p>It is not shown to others.</p></div>
      <${Form} name=${`reject-${id}`} fields=${FIELDS} submit="Reject review" busy="Rejecting" away="Keep review" send=${(/** @type {any} */ values) => decide("rejected", values.reason?.trim())} onAway=${() => setAsking(false)} /><//>`}`;
}

/** The decided review leaves this list; the next one takes its place in the drawer. @param {string} id @param {import("../core/list.js").List} list */
function openNext(id, list) {
  const rows = list.rows.value ?? [], at = rows.findIndex((row) => row.id === id), next = rows[at + 1] ?? rows[at - 1];
  list.remove(id);
  go(hrefWith({ open: next?.id ?? "" }), { replace: true });
}

/** @param {any} review @param {string} before @param {import("../core/list.js").List} list */
async function takeBack(review, before, list) {
  try {
    await put(`/reviews/${review.id}/moderate`, { status: before, reason: null }, { version: review.version });
    await list.load();
  } catch (error) {
    say(faultIn(error), { isFault: true });
  }
}

/** @param {{review: any}} props */
function Content({ review }) {
  const isProduct = review.resource_type === "product";
  const product = useThing(isProduct ? `/products/${review.resource_id}` : null).data.value, author = useThing(`/users/${review.user_id}`).data.value;
  const reports = useThing(review.report_count ? `/reviews/${review.id}/reports` : null);
  return html`<section><p class="said">${review.content}</p></section>
    <section><h3 class="vh">Facts</h3><${Facts} rows=${[
      ["State", html`<${State} of=${review.status} />`],
      ["Reason", review.reason],
      ["Rating", `${review.rating} of 5 stars`],
      isProduct ? ["Product", html`<a href=${href("products", { open: review.resource_id })}>${product?.name ?? shortened(review.resource_id)}</a>`]
        : ["About", `${review.resource_type} ${review.resource_id}`],
      ["Author", html`<a href=${href("users", { open: review.user_id })}>${author ? nameOf(author) : shortened(review.user_id)}</a>`],
      ["Written", html`<${Exact} at=${review.created} />`],
      ["Helpful to", review.helpful_count],
      ["Id", html`<${CopyId} id=${review.id} what="the id of the review" />`],
    ]} /></section>
    ${review.report_count > 0 && html`<section><h3>Reports</h3>${reports.error.value ? html`<${Failure} error=${reports.error.value} retry=${reports.load} />`
      : !reports.data.value ? html`<${Lines} rows=${2} />` : html`<ol class="timeline">${reports.data.value.map((/** @type {any} */ one) => html`<li key=${one.user_id}>
        <span class="said">${one.reason}</span><${Ago} at=${one.created} ago /><small>${one.is_settled ? "Settled by an approval" : "Open"}</small></li>`)}</ol>`}</section>`}`;
}
