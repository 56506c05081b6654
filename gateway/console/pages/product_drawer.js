// @ts-check
// One product: its facts, its stock by place and the latest moves.

import { isAdmin } from "../core/app_state.js";
import { count, money, words } from "../core/format.js";
import { useThing } from "../core/list.js";
import { href } from "../core/router.js";
import { html, useState } from "../core/view.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { Ago, CopyId, Exact, Failure, later, Lines, State } from "../parts/ui.js";

const form = () => import("./product_form.js");
const EditProduct = later(form, "EditProduct"), MoveStock = later(form, "MoveStock"), OrderProduct = later(form, "OrderProduct");
const MOVES = 10;

/** @param {{id: string, list: import("../core/list.js").List}} props */
export function ProductDrawer({ id, list }) {
  const thing = useThing(`/products/${id}`), stock = useThing(isAdmin.value ? `/products/${id}/stock` : null), moves = useThing(isAdmin.value ? `/products/${id}/stock/moves?limit=${MOVES}` : null);
  const [asked, setAsked] = useState("");
  const product = thing.data.value ?? list.rows.value?.find((row) => row.id === id);
  const close = () => setAsked("");
  const footer = product && html`
    ${product.status === "active" && html`<button class=${`btn ${isAdmin.value ? "" : "primary"}`} type="button" onClick=${() => setAsked("order")}>Order</button>`}
    ${isAdmin.value && html`<button class="btn" type="button" onClick=${() => setAsked("edit")}>Change</button>
      ${product.track_stock && html`<button class="btn" type="button" onClick=${() => setAsked("move")}>Change the stock</button>`}`}`;
  return html`<${Drawer} title=${product?.name ?? "Product"} noun="product" id=${id} rows=${list.rows.value} footer=${footer}>
      ${thing.error.value && html`<${Failure} error=${thing.error.value} retry=${thing.load} />`}
      ${product ? html`<${Content} product=${product} stock=${stock} moves=${moves} />` : !thing.error.value && html`<${Lines} rows=${6} />`}
    <//>
    ${asked === "edit" && html`<${EditProduct} product=${product} onStale=${thing.load} onAway=${close} onDone=${(/** @type {any} */ changed) => { thing.data.value = changed; list.put(changed); close(); }} />`}
    ${asked === "move" && html`<${MoveStock} product=${product} onAway=${close} onDone=${async () => { close(); await Promise.all([thing.load(), stock.load(), moves.load()]); if (thing.data.value) list.put(thing.data.value); }} />`}
    ${asked === "order" && html`<${OrderProduct} product=${product} onAway=${close} />`}`;
}

/** @param {{product: any, stock: any, moves: any}} props */
function Content({ product, stock, moves }) {
  const attributes = Object.entries(product.attributes ?? {});
  return html`${product.description && html`<section><p class="said">${product.description}</p></section>`}
    <section><h3 class="vh">Facts</h3><${Facts} rows=${[
      ["State", html`<${State} of=${product.status} />`],
      ["Price", `${money(product.price, product.currency)}${product.tax_rate ? `, and ${product.tax_rate} % tax` : ""}`],
      ["Available", product.track_stock ? html`${product.available === null ? "–" : count(product.available)}${product.low && html` <span class="badge warn">Low</span>`}` : "Not counted"],
      ["Low at", product.low_at], ["Without stock", product.backorder && "Can be ordered"],
      ["SKU", html`<span class="mono">${product.sku}</span>`],
      ...attributes.map(([name, value]) => /** @type {[string, any]} */ ([words(name), value])),
      ["Added", html`<${Exact} at=${product.created} />`],
      ["Id", html`<${CopyId} id=${product.id} what="the id of the product" />`],
    ]} /></section>
    ${isAdmin.value && product.track_stock && html`<section><h3>Stock</h3>
      ${stock.error.value ? html`<${Failure} error=${stock.error.value} retry=${stock.load} />` : !stock.data.value ? html`<${Lines} rows=${2} />` : html`<${Places} stock=${stock.data.value} />`}</section>
    <section><h3>Latest moves</h3>
      ${moves.error.value ? html`<${Failure} error=${moves.error.value} retry=${moves.load} />` : !moves.data.value ? html`<${Lines} rows=${2} />`
        : moves.data.value.length ? html`<${Moves} moves=${moves.data.value} />` : html`<p class="muted">None yet.</p>`}</section>`}`;
}

/** @param {{stock: any}} props */
const Places = ({ stock }) => html`<table><caption class="vh">Stock by place</caption>
  <thead><tr><th>Place</th><th class="num">On hand</th><th class="num">Reserved</th><th class="num">Available</th></tr></thead>
  <tbody>${stock.locations.map((/** @type {any} */ one) => html`<tr key=${one.location}><td>${one.location}</td><td class="num">${count(one.on_hand)}</td><td class="num">${count(one.reserved)}</td><td class="num">${count(one.available)}</td></tr>`)}
    ${stock.locations.length > 1 && html`<tr><th scope="row">All</th><td class="num">${count(stock.on_hand)}</td><td class="num">${count(stock.reserved)}</td><td class="num">${count(stock.available)}</td></tr>`}</tbody></table>`;

// What a move did, and its sign for what is on hand. Orders reserve pieces and set them free; that moves none.
const MOVED = /** @type {Record<string, [string, string]>} */ ({ receive: ["+", "received"], reserve: ["", "reserved"], release: ["", "no longer reserved"], ship: ["−", "shipped"], return: ["+", "returned"] });

/** @param {any} move */
function Moved({ kind, quantity, location }) {
  const [sign, word] = MOVED[kind] ?? [quantity < 0 ? "−" : "+", words(kind).toLowerCase()];
  return html`<span><b>${sign}${count(Math.abs(quantity))}</b> ${word}${location === "main" ? "" : `, ${location}`}</span>`;
}

/** @param {{moves: any[]}} props */
const Moves = ({ moves }) => html`<ol class="timeline">${moves.map((one) => html`<li key=${one.id}>
  <${Moved} ...${one} /><${Ago} at=${one.timestamp} ago />
  <small>${one.order_id ? html`<a href=${href("orders", { open: one.order_id })}>For an order</a>` : one.reason}</small></li>`)}</ol>`;
