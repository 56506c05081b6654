// @ts-check
// What admins do with many accounts at once. The reason that is recorded is the same for all: requested.

import { patch, post } from "../core/api.js";
import { me } from "../core/app_state.js";
import { nameOf } from "../core/format.js";
import { html } from "../core/view.js";
import { BulkBar } from "../parts/bulk.js";

const WHY = { reason: "requested", note: "Together with other accounts, in the console." };
/** @param {any} row */
const isOther = (row) => row.id !== me.value?.id;
/** @param {string} status */
const become = (status) => async (/** @type {any} */ row) => {
  await patch(`/auth/accounts/${row.id}`, { status, ...WHY });
  return { id: row.id, status };
};

/** @type {import("../parts/bulk.js").BulkAction[]} */
const ACTIONS = [
  { word: "Activate accounts", busy: "Activating", done: "activated", can: (row) => row.status === "suspended", run: become("active") },
  { word: "Sign out everywhere", busy: "Signing out", done: "signed out", can: isOther, run: (row) => post(`/auth/accounts/${row.id}/sign-out`, WHY).then(() => null) },
  { word: "Suspend accounts", busy: "Suspending", done: "suspended", isDanger: true, can: (row) => row.status === "active" && isOther(row), run: become("suspended") },
];

/** @param {{picks: import("../parts/pick.js").Picks, list: import("../core/list.js").List}} props */
export const UsersBulk = ({ picks, list }) => html`<${BulkBar} picks=${picks} list=${list} noun="account" name=${nameOf} actions=${ACTIONS} />`;
