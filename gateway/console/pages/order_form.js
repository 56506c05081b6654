// @ts-check
// The form for a new order.

import { post } from "../core/api.js";
import { say } from "../core/app_state.js";
import { money } from "../core/format.js";
import { go, hrefWith } from "../core/router.js";
import { html } from "../core/view.js";
import { Dialog } from "../parts/dialog.js";
import { Form } from "../parts/form.js";

const FIELDS = [
  { name: "product_name", label: "Product", maxlength: 200, autocomplete: "off", autofocus: true },
  { name: "quantity", label: "Quantity", inputmode: "numeric", autocomplete: "off" },
  { name: "total_price", label: "Total price", inputmode: "decimal", autocomplete: "off", help: "For all pieces, with tax." },
  { name: "currency", label: "Currency", maxlength: 3, autocomplete: "off", help: "Three letters, such as USD or EUR." },
];

/** @param {{list: import("../core/list.js").List}} props */
export function NewOrder({ list }) {
  const close = () => go(hrefWith({ do: "" }), { replace: true });
  /** @param {Record<string, string>} values @param {string} key */
  const send = async (values, key) => {
    const numbers = { quantity: number(values.quantity), total_price: number(values.total_price) };
    const { data } = await post("/orders", { ...values, ...numbers, currency: values.currency.toUpperCase() }, { key });
    say(`Ordered ${data.product_name} for ${money(data.total_price, data.currency)}.`);
    await list.load();
    go(hrefWith({ do: "", open: data.id }), { replace: true });
  };
  return html`<${Dialog} label="Place an order" onClose=${close}><div class="in head"><h2>Place an order</h2></div>
    <${Form} name="order" fields=${FIELDS} initial=${{ quantity: "1", currency: "USD" }} submit="Place order" busy="Placing order" away="Discard" send=${send} onAway=${close} />
  <//>`;
}

/** The number that was typed, or the text itself, which the service then refuses with its reason. @param {string} [text] */
const number = (text) => (text && /^\s*\d+(\.\d+)?\s*$/.test(text) ? Number(text) : text || null);
