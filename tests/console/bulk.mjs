// One action on many orders, while rows are deselected and another filter is chosen.
// Usage: node bulk.mjs, beside the modules; prints what the service was asked and what is chosen afterwards.

import { until } from "./dom.mjs";

globalThis.location = { pathname: "/console/orders", search: "?pick=yes", origin: "http://localhost" };
const { withQuery } = await import("./core/api.js");
const { toasts } = await import("./core/app_state.js");
const { useList } = await import("./core/list.js");
const { place } = await import("./core/router.js");
const { html, render } = await import("./core/view.js");
const { OrdersBulk } = await import("./pages/orders_bulk.js");
const { usePicks } = await import("./parts/pick.js");

const NAMES = ["one", "two", "three", "four"], held = [];
const order = (name, status = "pending") => ({ id: name, product_name: name, status, version: 1 });
let asked = [];

/** Lists are there at once; changes wait until the plan answers them. */
globalThis.fetch = (path, { method, body }) => {
  if (method === "GET") return Promise.resolve(Response.json(NAMES.map((name) => order(name))));
  asked.push(path.split("/").at(-1));
  return new Promise((resolve) => held.push((isRefused) => resolve(isRefused
    ? Response.json({ code: "version_conflict" }, { status: 412 }) : Response.json(order(asked.at(-1), JSON.parse(body).status)))));
};

function Screen() {
  const list = useList(withQuery("/orders", { status: place.value.query.status }), { refreshes: false });
  const picks = usePicks(list, (row) => row.product_name), [column] = picks.into([{ head: "", cell: (row) => row.product_name }]);
  return html`${picks.isOn && html`<${OrdersBulk} picks=${picks} list=${list} />`}${list.rows.value?.map((row) => html`<p key=${row.id}>${column.cell(row)}</p>`)}`;
}

const root = document.createElement("main");
const boxes = () => root.all.filter((one) => one.localName === "input");
const chosen = () => boxes().filter((one) => one.checked).map((one) => one.attributes["aria-label"].replace("Choose ", ""));
const press = async (word) => (await until(() => root.all.findLast((one) => one.localName === "button" && one.textContent === word))).fire("click");
const toggle = (name) => boxes()[NAMES.indexOf(name)].fire("click");
const isOver = () => !root.all.some((one) => one.localName === "progress");

/** Begin to confirm all orders; returns once the first request is under way. */
async function begin() {
  [asked, toasts.value] = [[], []];
  render(null, root);
  place.value = { page: "orders", query: { pick: "yes" } };
  render(html`<${Screen} />`, root);
  await press("Choose all 4 loaded");
  await press("Confirm orders");
  await until(() => root.all.some((one) => one.localName === "dialog"));
  await press("Confirm orders");
  await until(() => held.length);
}

/** Let requests end, one after another, until no more are sent. */
async function finish({ isRefused = false } = {}) {
  while (!isOver()) {
    await until(() => held.length || isOver());
    held.shift()?.(isRefused);
    const before = asked.length;
    await until(() => asked.length > before || isOver());
  }
  return { asked, chosen: chosen(), said: toasts.value.map((one) => one.text) };
}

async function filter() {
  place.value = { page: "orders", query: { pick: "yes", status: "pending" } };
  await until(() => boxes().length === NAMES.length && !chosen().length);
}

const seen = {};
await begin();
seen["nothing is changed meanwhile"] = await finish();
await begin();
toggle("two");
await until(() => !chosen().includes("two"));
seen["a row is deselected"] = await finish();
await begin();
toggle("two");
await filter();
seen["another filter is chosen"] = await finish();
await begin();
await filter();
toggle("four");
await until(() => chosen().includes("four"));
seen["rows are chosen in the new list"] = await finish();
await begin();
await filter();
seen["the request is refused after another filter was chosen"] = await finish({ isRefused: true });
console.log(JSON.stringify(seen));
process.exit(); // messages would close by timers
