// @ts-check
// Products: search, low stock, one product with its stock in the drawer, and forms to create and change one.

import { withQuery } from "../core/api.js";
import { isAdmin } from "../core/app_state.js";
import { amount, count, words } from "../core/format.js";
import { addCommands } from "../core/keys.js";
import { useList } from "../core/list.js";
import { go, hrefWith, place } from "../core/router.js";
import { html, useEffect } from "../core/view.js";
import { PickLink, usePicks } from "../parts/pick.js";
import { Search } from "../parts/search.js";
import { Chip, FilterMenu, NothingMatches, Table } from "../parts/table.js";
import { Empty, Icon, later, Page, State } from "../parts/ui.js";

const ProductDrawer = later(() => import("./product_drawer.js"), "ProductDrawer"), NewProduct = later(() => import("./product_form.js"), "NewProduct");
const ProductsBulk = later(() => import("./products_bulk.js"), "ProductsBulk");
const STATES = ["draft", "active", "archived"];

export default function Products() {
  const { query } = place.value;
  const list = useList(withQuery("/products", { search: query.q, status: isAdmin.value ? query.status : "", low: query.low }));
  useEffect(() => (isAdmin.value ? addCommands([{ id: "product-new", label: "Add a product", keys: "n", group: "Here", icon: "plus", run: () => go(hrefWith({ do: "new" })) }]) : undefined), []);
  const picks = usePicks(list, (row) => row.name, isAdmin.value);
  const actions = isAdmin.value && html`<a class=${`btn ${query.open ? "" : "primary"}`} href=${hrefWith({ do: "new" })}><${Icon} name="plus" />Add a product</a>`;
  return html`<${Page} title="Products" actions=${actions}>
      <div class="stack mid"><${Filters} query=${query} picks=${picks} />
        ${picks.isOn && html`<${ProductsBulk} picks=${picks} list=${list} />`}
        <${Table} caption="Products, newest first" columns=${picks.into(columns())} list=${list} noun="product" empty=${nothing(query)} /></div>
    <//>
    ${query.open && html`<${ProductDrawer} key=${query.open} id=${query.open} list=${list} />`}
    ${query.do === "new" && isAdmin.value && html`<${NewProduct} list=${list} />`}`;
}

/** @returns {import("../parts/table.js").Column[]} */
const columns = () => [
  { head: "Name", class: "c1 cut", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.id, do: "" })}>${row.name}</a>` },
  { head: "SKU", class: "opt mono muted nowrap", cell: (row) => row.sku },
  { head: "Price", class: "num c2 nowrap", cell: (row) => html`<span class="faint">${row.currency} </span>${amount(row.price, row.currency)}` },
  { head: "Available", class: "num c3 nowrap", cell: (row) => html`<${Stock} of=${row} />` },
  ...(isAdmin.value ? [{ head: "State", class: "c4", cell: (/** @type {any} */ row) => (row.status === "active" ? html`<span class="muted">Active</span>` : html`<${State} of=${row.status} />`) }] : []),
];

/** @param {{of: any}} props */
function Stock({ of }) {
  if (!of.track_stock) return html`<span class="muted">Not counted</span>`;
  return html`${of.low && html`<span class="badge warn">Low</span> `}${of.available === null ? "–" : count(of.available)}<span class="unit"> available</span>`;
}

/** @param {{query: Record<string, string>, picks: import("../parts/pick.js").Picks}} props */
const Filters = ({ query, picks }) => html`<div class="toolbar"><${Search} label="Search products" placeholder="Name or SKU" />
  ${query.status && isAdmin.value && html`<${Chip} name="State" value=${words(query.status)} without=${hrefWith({ status: "", open: "" })} />`}
  ${query.low && html`<${Chip} name="Stock" value="low" without=${hrefWith({ low: "", open: "" })} />`}
  ${isAdmin.value && html`<${FilterMenu} id="filter-state" label="State" options=${STATES.map((one) => ({ word: words(one), href: hrefWith({ status: one, open: "" }) }))} />`}
  ${!query.low && html`<a class="chip add" href=${hrefWith({ low: "true", open: "" })}><${Icon} name="plus" />Low stock</a>`}
  ${isAdmin.value && html`<${PickLink} picks=${picks} />`}
</div>`;

/** @param {Record<string, string>} query */
function nothing(query) {
  const filters = [query.q && `“${query.q}” in it`, query.status && `the state ${query.status}`, query.low && "a low stock"].filter(Boolean).join(" and ");
  if (filters) return html`<${NothingMatches} noun="products" filters=${filters} clear=${hrefWith({ q: "", status: "", low: "", open: "" })} />`;
  return html`<${Empty} icon="products" title="No products yet"><p>${isAdmin.value ? "Orders of products reserve their stock, and have invoices with lines and taxes." : "There is nothing to order yet."}</p>
    ${isAdmin.value && html`<div class="btns"><a class="btn" href=${hrefWith({ do: "new" })}>Add the first product</a></div>`}<//>`;
}
