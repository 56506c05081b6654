// @ts-check
// What support staff does with many tickets at once.

import { put } from "../core/api.js";
import { me } from "../core/app_state.js";
import { html } from "../core/view.js";
import { BulkBar } from "../parts/bulk.js";

const SOLVED = ["resolved", "closed"];
/** @param {any} row @param {string} what @param {any} body */
const change = (row, what, body) => put(`/tickets/${row.id}/${what}`, body, { version: row.version }).then(({ data }) => data);

/** @type {import("../parts/bulk.js").BulkAction[]} */
const ACTIONS = [
  { word: "Assign to me", busy: "Assigning", done: "assigned to you", can: (row) => row.assigned_to !== me.value?.id, run: (row) => change(row, "assign", { assigned_to: me.value?.id }) },
  { word: "Resolve tickets", busy: "Resolving", done: "resolved", can: (row) => !SOLVED.includes(row.status), run: (row) => change(row, "status", { status: "resolved" }) },
  { word: "Close tickets", busy: "Closing", done: "closed", can: (row) => row.status !== "closed", run: (row) => change(row, "status", { status: "closed" }) },
];

/** @param {{picks: import("../parts/pick.js").Picks, list: import("../core/list.js").List}} props */
export const TicketsBulk = ({ picks, list }) => html`<${BulkBar} picks=${picks} list=${list} noun="ticket" name=${nameOf} actions=${ACTIONS} />`;

/** @param {any} row */
const nameOf = (row) => row.number;
