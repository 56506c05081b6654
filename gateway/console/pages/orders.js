// @ts-check
// Orders: the list, its filters, one order in the drawer, and the form for a new one.

import { withQuery } from "../core/api.js";
import { isAdmin } from "../core/app_state.js";
import { money, shortened, words } from "../core/format.js";
import { addCommands } from "../core/keys.js";
import { useList } from "../core/list.js";
import { go, hrefWith, place } from "../core/router.js";
import { html, useEffect } from "../core/view.js";
import { PickLink, usePicks } from "../parts/pick.js";
import { Chip, FilterMenu, NothingMatches, stateColumn, Table } from "../parts/table.js";
import { Ago, Empty, Icon, later, Page } from "../parts/ui.js";

const OrderDrawer = later(() => import("./order_drawer.js"), "OrderDrawer"), NewOrder = later(() => import("./order_form.js"), "NewOrder");
const OrdersBulk = later(() => import("./orders_bulk.js"), "OrdersBulk");
const PAGE = 18; // fills a screen; more is loaded before the end comes into view
const STATES = ["pending", "confirmed", "shipped", "delivered", "returned", "cancelled"];
const CURL = `curl -X POST ${location.origin}/orders -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -d '{"product_name": "Laptop", "quantity": 1, "total_price": 999.99}'`;

export default function Orders() {
  const { query } = place.value;
  const list = useList(withQuery("/orders", { limit: PAGE, status: query.status, user_id: query.user }));
  const isNew = query.do === "new", picks = usePicks(list, (row) => row.product_name, isAdmin.value);
  useEffect(() => addCommands([{ id: "order-new", label: "Place an order", keys: "n", group: "Here", icon: "plus", run: () => go(hrefWith({ do: "new" })) }]), []);
  return html`<${Page} title="Orders" actions=${html`<a class=${`btn ${query.open ? "" : "primary"}`} href=${hrefWith({ do: "new" })}><${Icon} name="plus" />Place an order</a>`}>
      <div class="stack mid">
        <${Filters} query=${query} picks=${picks} />
        ${picks.isOn && html`<${OrdersBulk} picks=${picks} list=${list} />`}
        <${Table} caption="Orders, newest first" columns=${picks.into(columns())} list=${list} noun="order" empty=${nothing(query)} />
      </div>
    <//>
    ${query.open && html`<${OrderDrawer} key=${query.open} id=${query.open} list=${list} />`}
    ${isNew && html`<${NewOrder} list=${list} />`}`;
}

/** @returns {import("../parts/table.js").Column[]} */
const columns = () => [
  { head: "Product", class: "c1 cut", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.id, do: "" })}>${row.product_name}</a>` },
  ...(isAdmin.value ? [{ head: "Customer", class: "opt mono muted nowrap", title: (/** @type {any} */ row) => row.user_id, cell: (/** @type {any} */ row) => shortened(row.user_id) }] : []),
  { head: "Quantity", class: "num opt", cell: (row) => row.quantity },
  { head: "Total", class: "num c2 nowrap", cell: (row) => money(row.total_price, row.currency) },
  stateColumn("c4", (row) => row.status),
  { head: "Age", class: "num muted nowrap c3", cell: (row) => html`<${Ago} at=${row.created} />` },
];

/** @param {{query: Record<string, string>, picks: import("../parts/pick.js").Picks}} props */
const Filters = ({ query, picks }) => html`<div class="toolbar">
  ${query.status && html`<${Chip} name="State" value=${words(query.status)} without=${hrefWith({ status: "", open: "" })} />`}
  ${query.user && html`<${Chip} name="Customer" value=${shortened(query.user)} without=${hrefWith({ user: "", open: "" })} />`}
  <${FilterMenu} id="filter-state" label="State" options=${STATES.map((one) => ({ word: words(one), icon: `s-${one}`, href: hrefWith({ status: one, open: "" }) }))} />
  ${isAdmin.value && html`<${PickLink} picks=${picks} />`}
</div>`;

/** @param {Record<string, string>} query */
function nothing(query) {
  const filters = [query.status && `the state ${words(query.status).toLowerCase()}`, query.user && "this customer"].filter(Boolean).join(" and ");
  if (filters) return html`<${NothingMatches} noun="orders" filters=${filters} clear=${hrefWith({ status: "", user: "", open: "" })} />`;
  return html`<${Empty} icon="orders" title="No orders yet"><p>An order goes from pending to delivered, and everybody who changes it is in its history.</p>
    <div class="btns"><a class="btn" href=${hrefWith({ do: "new" })}>Place the first order</a></div><code class="box">${CURL}</code><//>`;
}
