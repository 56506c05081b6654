// @ts-check
// What admins do with many products at once.

import { put } from "../core/api.js";
import { html } from "../core/view.js";
import { BulkBar } from "../parts/bulk.js";

/** @param {string} status */
const become = (status) => (/** @type {any} */ row) => put(`/products/${row.id}`, { status }, { version: row.version }).then(({ data }) => data);

/** @type {import("../parts/bulk.js").BulkAction[]} */
const ACTIONS = [
  { word: "Offer products", busy: "Saving", done: "offered", can: (row) => row.status !== "active", run: become("active") },
  { word: "Archive products", busy: "Archiving", done: "archived", isDanger: true, can: (row) => row.status !== "archived", run: become("archived") },
];

/** @param {{picks: import("../parts/pick.js").Picks, list: import("../core/list.js").List}} props */
export const ProductsBulk = ({ picks, list }) => html`<${BulkBar} picks=${picks} list=${list} noun="product" name=${nameOf} actions=${ACTIONS} />`;

/** @param {any} row */
const nameOf = (row) => row.name;
