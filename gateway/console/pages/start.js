// @ts-check
// First steps: what a new suite lacks, for its admin. Each line is a link, and is ticked once the API shows that the step is done.

import { useThing } from "../core/list.js";
import { href } from "../core/router.js";
import { html } from "../core/view.js";
import { Failure, Icon, Lines, Page } from "../parts/ui.js";

const SUMMARY = "/dashboard/summary";

/** The steps: the path that is read, and what its response must be for the step to be done. */
const STEPS = [
  { title: "Let a second person in", note: "People register at the sign-in page; roles are given under Users.", path: "/users?limit=2", is: (/** @type {any} */ rows) => rows.length > 1, to: href("users") },
  { title: "Add a product", note: "With a price and stock, so that there is something to order.", path: "/products?limit=1", is: (/** @type {any} */ rows) => rows.length > 0, to: href("products", { do: "new" }) },
  { title: "Place an order", note: "And take it from pending to delivered.", path: "/orders?limit=1", is: (/** @type {any} */ rows) => rows.length > 0, to: href("orders", { do: "new" }) },
  { title: "Upload a file", note: "Large ones continue after a lost connection.", path: SUMMARY, is: (/** @type {any} */ { sections: { files } }) => files?.private + files?.public + files?.trash > 0, to: href("files") },
  { title: "Start a shell", note: "It keeps running when the page is closed.", path: SUMMARY, is: (/** @type {any} */ { sections: { terminal } }) => terminal?.total > 0, to: href("terminals") },
  { title: "Connect WorkSpaces", note: "With the keys of an AWS account, or the invented company of the demo.", path: SUMMARY, is: (/** @type {any} */ { sections: { inventory } }) => inventory?.workspaces > 0, to: href("workspaces") },
];
const PATHS = [...new Set(STEPS.map((one) => one.path))];

export default function Start() {
  const things = PATHS.map((path) => useThing(path)); // always the same number, in the same order
  const answers = Object.fromEntries(PATHS.map((path, n) => [path, things[n].data.value]));
  const steps = STEPS.map((one) => ({ ...one, isDone: Boolean(answers[one.path] && one.is(answers[one.path])) })), done = steps.filter((one) => one.isDone).length;
  const failed = things.filter((one) => one.error.value), isKnown = things.every((one) => one.data.value || one.error.value);
  return html`<${Page} title="First steps" lead=${isKnown ? `${done} of ${steps.length} done. Each step can be skipped.` : ""}>
    ${failed.map((one) => html`<${Failure} error=${one.error.value} retry=${one.load} unharmed="The steps of this service are not ticked until it responds." />`)}
    <section class="card" aria-label="Steps">${isKnown ? html`<div class="rows">${steps.map((one) => html`<a key=${one.title} href=${one.to}>
        <${Icon} name=${one.isDone ? "s-delivered" : "s-pending"} class=${one.isDone ? "good" : ""} /><span class="t"><span class="vh">${one.isDone ? "Done: " : "To do: "}</span>${one.title}<small>${one.note}</small></span><${Icon} name="right" /></a>`)}</div>`
      : html`<div class="body"><${Lines} rows=${6} /></div>`}
      <footer><span>To look around first, <code class="box">gatehouse demo</code> fills a suite on your machine with an invented company.</span></footer></section>
  <//>`;
}
