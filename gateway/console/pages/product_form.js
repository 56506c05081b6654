// @ts-check
// The forms of products: a new one, a change, an order, and pieces that arrived or are missing.

import { post, put } from "../core/api.js";
import { say } from "../core/app_state.js";
import { counted, money, words } from "../core/format.js";
import { go, href, hrefWith } from "../core/router.js";
import { html, useState } from "../core/view.js";
import { Dialog } from "../parts/dialog.js";
import { Form } from "../parts/form.js";

/** @typedef {import("../parts/form.js").Field} Field */
/** @typedef {import("../core/list.js").List} List */

/** @type {Field[]} */
const FIELDS = [
  { name: "name", label: "Name", maxlength: 200, autocomplete: "off", autofocus: true },
  { name: "sku", label: "SKU", maxlength: 64, autocomplete: "off", spellcheck: false, help: "The name of the product in your warehouse." },
  { name: "price", label: "Price", inputmode: "decimal", autocomplete: "off", help: "For one piece, without tax." },
  { name: "currency", label: "Currency", maxlength: 3, autocomplete: "off" },
  { name: "tax_rate", label: "Tax, percent", inputmode: "decimal", autocomplete: "off" },
  { name: "low_at", label: "Low at", inputmode: "numeric", autocomplete: "off", help: "Warn when this many pieces or fewer are available. Empty: never." },
  { name: "status", label: "State", options: ["draft", "active", "archived"].map((one) => /** @type {[string, string]} */ ([one, words(one)])), help: "Only active products can be ordered." },
  { name: "description", label: "Description", rows: 3 },
];

/** The number that was typed, or the text itself, which the service then refuses with its reason. @param {string} [text] */
const number = (text) => (text && /^\s*-?\d+(\.\d+)?\s*$/.test(text) ? Number(text) : text || null);

/** @param {Record<string, string>} values */
const bodyOf = (values) => ({
  name: values.name ?? "", sku: values.sku ?? "", currency: (values.currency ?? "").toUpperCase(), price: number(values.price), tax_rate: number(values.tax_rate) ?? 0,
  low_at: number(values.low_at), status: values.status, description: values.description ?? "",
});

/** @param {{list: List}} props */
export function NewProduct({ list }) {
  const close = () => go(hrefWith({ do: "" }), { replace: true });
  /** @param {Record<string, string>} values @param {string} key */
  const send = async (values, key) => {
    const { data } = await post("/products", bodyOf(values), { key });
    say(`Added ${data.name}.`);
    await list.load();
    go(hrefWith({ do: "", open: data.id }), { replace: true });
  };
  return html`<${Dialog} label="Add a product" onClose=${close}><div class="in head"><h2>Add a product</h2></div>
    <${Form} name="product" fields=${FIELDS} initial=${{ currency: "USD", tax_rate: "0", status: "active" }} submit="Add product" busy="Adding" away="Discard" send=${send} onAway=${close} /><//>`;
}

/** Sends only what differs from the product as it was when the form was opened. @param {{product: any, onDone: (product: any) => void, onStale: () => Promise<void>, onAway: () => void}} props */
export function EditProduct({ product, onDone, onStale, onAway }) {
  const [opened] = useState(product);
  const initial = Object.fromEntries(FIELDS.map(({ name }) => [name, String(opened[name] ?? "")]));
  /** @param {Record<string, string>} values */
  const send = async (values) => {
    const wanted = /** @type {Record<string, any>} */ (bodyOf(values));
    const changes = Object.fromEntries(Object.entries(wanted).filter(([name, value]) => value !== opened[name]));
    if (!Object.keys(changes).length) return onAway();
    // The service reads a price together with its currency.
    if ("price" in changes) changes.currency = wanted.currency;
    try {
      const { data } = await put(`/products/${product.id}`, changes, { version: product.version });
      say(`Changed ${data.name}.`);
      onDone(data);
    } catch (error) {
      if (/** @type {any} */ (error).status === 412) await onStale(); // whoever saves again has seen the new state
      throw error;
    }
    return undefined;
  };
  return html`<${Dialog} label="Change this product" onClose=${onAway}><div class="in head"><h2>Change this product</h2></div>
    <${Form} name=${`product-${product.id}`} fields=${FIELDS} initial=${initial} submit="Save changes" busy="Saving" away="Keep as it is" send=${send} onAway=${onAway} /><//>`;
}

/** @param {{product: any, onDone: () => void, onAway: () => void}} props */
export function MoveStock({ product, onDone, onAway }) {
  /** @type {Field[]} */
  const fields = [
    { name: "kind", label: "What happened", options: [["receive", "Pieces arrived"], ["adjust", "The count is wrong"]], autofocus: true },
    { name: "quantity", label: "Pieces", inputmode: "numeric", autocomplete: "off", help: "For a wrong count, enter the difference: −2 if two are missing." },
    { name: "location", label: "Place", maxlength: 64, autocomplete: "off" },
    { name: "reason", label: "Reason", maxlength: 200, autocomplete: "off", help: "Required for a wrong count." },
  ];
  /** @param {Record<string, string>} values @param {string} key */
  const send = async (values, key) => {
    const quantity = number(values.quantity?.replace("−", "-"));
    await post(`/products/${product.id}/stock/moves`, { kind: values.kind, quantity, location: values.location, ...(values.reason?.trim() ? { reason: values.reason.trim() } : {}) }, { key });
    say(`Recorded ${counted(Number(quantity), "piece")} of ${product.name}.`);
    onDone();
  };
  return html`<${Dialog} label="Change the stock" onClose=${onAway}><div class="in head"><h2>Change the stock</h2></div>
    <${Form} name=${`stock-${product.id}`} fields=${fields} initial=${{ kind: "receive", location: "main" }} submit="Record" busy="Recording" away="Keep as it is" send=${send} onAway=${onAway} /><//>`;
}

/** @param {{product: any, onAway: () => void}} props */
export function OrderProduct({ product, onAway }) {
  /** @type {Field[]} */
  const fields = [{ name: "quantity", label: "Pieces", inputmode: "numeric", autocomplete: "off", autofocus: true, help: `${money(product.price, product.currency)} each, ${product.tax_rate ? `and ${product.tax_rate} % tax` : "without tax"}.` }];
  /** @param {Record<string, string>} values @param {string} key */
  const send = async (values, key) => {
    const { data } = await post("/orders", { lines: [{ product_id: product.id, quantity: number(values.quantity) }] }, { key });
    say(`Ordered ${data.product_name} for ${money(data.total_price, data.currency)}.`);
    go(href("orders", { open: data.id }));
  };
  return html`<${Dialog} label=${`Order ${product.name}`} onClose=${onAway}><div class="in head"><h2>Order ${product.name}</h2></div>
    <${Form} name=${`order-${product.id}`} fields=${fields} initial=${{ quantity: "1" }} submit="Place order" busy="Placing order" away="Discard" send=${send} onAway=${onAway} /><//>`;
}
