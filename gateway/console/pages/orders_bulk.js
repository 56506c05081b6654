// @ts-check
// What admins do with many orders at once.

import { put } from "../core/api.js";
import { html } from "../core/view.js";
import { BulkBar } from "../parts/bulk.js";

/** @param {string} status */
const step = (status) => (/** @type {any} */ row) => put(`/orders/${row.id}`, { status }, { version: row.version }).then(({ data }) => data);
/** @param {string[]} states */
const from = (...states) => (/** @type {any} */ row) => states.includes(row.status);

/** @type {import("../parts/bulk.js").BulkAction[]} */
const ACTIONS = [
  { word: "Confirm orders", busy: "Confirming", done: "confirmed", can: from("pending"), run: step("confirmed") },
  { word: "Ship orders", busy: "Shipping", done: "shipped", can: from("confirmed"), run: step("shipped") },
  { word: "Mark as delivered", busy: "Saving", done: "delivered", can: from("shipped"), run: step("delivered") },
  { word: "Cancel orders", busy: "Cancelling", done: "cancelled", isDanger: true, can: from("pending", "confirmed"), run: step("cancelled") },
];

/** @param {{picks: import("../parts/pick.js").Picks, list: import("../core/list.js").List}} props */
export const OrdersBulk = ({ picks, list }) => html`<${BulkBar} picks=${picks} list=${list} noun="order" name=${nameOf} actions=${ACTIONS} />`;

/** @param {any} row */
const nameOf = (row) => row.product_name;
